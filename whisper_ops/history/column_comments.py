"""Comments of columns that docs/history.md shows: SQLite keeps none where a migration adds a column."""

COLUMN_COMMENTS = {
    "server.reached_by": "JSON: how it is reached, as a [[server]] of whisper-ops.toml, without a token",
    "gpu_sample.memory_busy_ratio": "share of time in which the device's memory was read or written, 0 to 1",
    "plan.binding_kind": "the same as a kind: latency, gpu_memory, host_cpu, …",
    "alert.figure": "what the rule looks at, as in the file of rules",
    "alert.last_value": "of that figure",
    "alert.over_limit": "the rule's limit, where too much is bad",
    "alert.under_limit": "the rule's limit, where too little is bad",
    "sweep.pause_share": "share of the time in which nobody spoke; NULL: it was not looked at",
    "stream.replica": "host and port that /connect handed out; NULL for streams that connected directly",
    "server_identity.setup_min_seconds": "the slowest and fastest set-up since then",
    "server_identity.reading_error": "why GPUs could not be read",
    "gpu_identity.reading_error": "why this GPU could not be read",
    "stream.connection_id": "what the server called it, as in its log",
    "stream.server_id": "the server process that took it",
    "level.servers": "how many servers answered at the address",
    "level.gpus": "of all these servers",
    "level.other_cpu_ratio": "share of the host's processor time that neither the server nor the load test took",
    "level.findings": "the reason as data: a JSON list of kinds with their figures",
    "level.reference_words": "words said by the streams whose text was heard to its end",
}
"""By table and column: of those that migrations added, and of those before them, which end a line no more."""
