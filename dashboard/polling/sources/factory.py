"""The source for each kind of server."""

from pathlib import Path

from dashboard.polling.server_list import ServerEntry
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.exporters.mapping import load
from whisper_ops.snapshot_client.client import DETECTED_KINDS, exporter_source, source_of
from whisper_ops.snapshot_client.http_client import Access
from whisper_ops.snapshot_client.source import Source


def make(server: ServerEntry, token: str | None = None, at: str | None = None) -> Source:
    """What polls `server`; `token` is used where it has none of its own; `at` is the address of one of its replicas.

    Raises:
        UserError: its token or mapping cannot be read, or the mapping is wrong.
    """
    if server.kind == "local":
        from dashboard.polling.sources.local import LocalSource  # noqa: PLC0415  # psutil: other servers' machines do without

        return LocalSource(server.label)
    name = server.label if at is None else f"{server.label}/{at}"
    access = Access(server.token(token), at)
    if server.kind in DETECTED_KINDS:
        return source_of(server.url, server.kind, name=name, access=access)
    mapping = ready_made(server.kind) if server.mapping is None else load(Path(server.mapping))
    return exporter_source(server.url, mapping, name=name, access=access)
