"""The kinds of servers that can be polled, each a `whisper_ops.snapshot_client.source.Source`."""
