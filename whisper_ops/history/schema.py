"""The tables of `history.db`, as migrations. A migration that was released is never edited; a new one is added.

Wide rows a poll, keyed `(server_id, at)` WITHOUT ROWID: a poll's rows lie together, and one commit touches a page or
two a server. What seldom changes (names, totals, limits) is kept apart, a row from when on: that is a third of the
size. STRICT, so that a text can never hide in a number's column. The comments are part of the schema: `.schema` in any
SQLite tool shows them, and docs/history.md is made of them.
"""

from typing import TYPE_CHECKING

from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.history.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

migrations = Migrations("whisper_ops")

SERVER_METRICS = (
    "slots", "slots_used", "streams_active", "streams_speaking",
    "accepted_total", "completed_total", "failed_total", "rejected_total",
    "lag_p50_seconds", "lag_p95_seconds", "lag_p99_seconds", "final_p50_seconds", "final_p95_seconds",
    "partial_interval_seconds", "setup_mean_seconds",
)  # fmt: skip
_FIRST_GPU_METRICS = (
    "streams_active", "streams_speaking", "memory_used_bytes", "gpu_ratio", "busy_ratio", "temperature_celsius",
    "power_watts", "sm_clock_hertz", "batch_fill_mean", "queue_wait_p95_seconds", "compute_p95_seconds",
    "audio_seconds_per_second", "lag_p95_seconds", "process_rss_bytes", "process_cpu_ratio",
)  # fmt: skip
GPU_METRICS = (*_FIRST_GPU_METRICS, "memory_busy_ratio")
HOST_METRICS = (
    "cpu_ratio", "load_1m", "memory_available_bytes", "front_cpu_ratio", "process_rss_bytes", "process_cpu_ratio",
    "open_descriptors", "sockets", "threads", "network_receive_bytes_per_second", "network_send_bytes_per_second",
)  # fmt: skip
BUCKET_COLUMNS = ("lag_bucket_counts",)


@migrations()
def m001_begin(db: "Database") -> None:
    """Servers, samples and their rollups, sweeps, plans, events and alerts."""
    for statement in _FIRST:
        db.execute(statement)
    bounds = [*LATENCY_BOUNDS_SECONDS, None]
    db.conn.executemany("INSERT INTO latency_bucket (bucket, upper_bound_seconds) VALUES (?, ?)", enumerate(bounds))
    for tier in ("minute", "hour"):
        db.execute(_rollup("server", tier, SERVER_METRICS))
        db.execute(_rollup("gpu", tier, _FIRST_GPU_METRICS))
        db.execute(_rollup("host", tier, HOST_METRICS))


@migrations()
def m002_utterances(db: "Database") -> None:
    """What a sweep that goes on, its pictures and a comparison need of the levels before: utterances and latencies."""
    for statement in _SECOND:
        db.execute(statement)


@migrations()
def m003_reading_errors(db: "Database") -> None:
    """Why GPUs could not be read."""
    for statement in _THIRD:
        db.execute(statement)


@migrations()
def m004_findings(db: "Database") -> None:
    """What was found about a level as data, so that nothing has to read our own words back."""
    for statement in _FOURTH:
        db.execute(statement)


@migrations()
def m005_servers(db: "Database") -> None:
    """Who answered: behind one address there may be several servers, and a GPU is one of a server."""
    for statement in _FIFTH:
        db.execute(statement)


@migrations()
def m006_other_load(db: "Database") -> None:
    """What other programs took of the server's machine while a level ran."""
    db.execute("ALTER TABLE level ADD COLUMN other_cpu_ratio REAL")


@migrations()
def m007_alert_figures(db: "Database") -> None:
    """What an alert's rule looks at, as data: its words are made where they are shown."""
    for statement in _SEVENTH:
        db.execute(statement)


@migrations()
def m008_binding_kind(db: "Database") -> None:
    """What binds as a kind, which does not change with what people call it."""
    db.execute("ALTER TABLE plan ADD COLUMN binding_kind TEXT")
    for title, kind in _BINDING:
        db.execute("UPDATE plan SET binding_kind = ? WHERE binding_resource = ?", [kind, title])


@migrations()
def m009_pause_share(db: "Database") -> None:
    """How much of the time the speech of a sweep pauses: what is read without a pause costs a server more."""
    db.execute("ALTER TABLE sweep ADD COLUMN pause_share REAL")


@migrations()
def m010_memory_busy(db: "Database") -> None:
    """How busy a GPU's memory is."""
    _add_metric(db, "gpu", "memory_busy_ratio")


@migrations()
def m011_reached_at(db: "Database") -> None:
    """How each server is reached, so that the same ones can be watched again without naming them."""
    db.execute("ALTER TABLE server ADD COLUMN reached_by TEXT")


def _add_metric(db: "Database", kind: str, metric: str) -> None:
    """A column of samples, and those of its rollups."""
    db.execute(f"ALTER TABLE {kind}_sample ADD COLUMN {metric} REAL")
    for tier in ("minute", "hour"):
        db.execute(f"ALTER TABLE {kind}_{tier} ADD COLUMN {metric}_n INTEGER")
        for part in ("sum", "min", "max", "last"):
            db.execute(f"ALTER TABLE {kind}_{tier} ADD COLUMN {metric}_{part} REAL")


def _rollup(kind: str, tier: str, metrics: tuple[str, ...]) -> str:
    """One rollup table: for each metric how often it was known, and its sum, least, greatest and last value."""
    gpu = "gpu_id INTEGER NOT NULL, " if kind == "gpu" else ""
    counts = "".join(
        f"{column} TEXT, -- JSON {{bucket: count}} of all polls in it\n"
        for column in BUCKET_COLUMNS
        if kind == "server"
    )
    failed = "failed INTEGER NOT NULL, -- polls that were not answered\n" if kind == "server" else ""
    columns = ",\n".join(f"{m}_n INTEGER, {m}_sum REAL, {m}_min REAL, {m}_max REAL, {m}_last REAL" for m in metrics)
    return f"""
    CREATE TABLE {kind}_{tier} ( -- {kind}_sample by the {tier}; a mean is _sum / _n
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL, -- the {tier} begins, UTC epoch seconds
        {gpu}polls INTEGER NOT NULL, -- rows of {kind}_sample in it
        {failed}last_at REAL NOT NULL, -- the poll that _last is of
        {counts}{columns},
        PRIMARY KEY (server_id, at{", gpu_id" if gpu else ""})
    ) STRICT, WITHOUT ROWID
    """


_FIRST = (
    """
    CREATE TABLE server ( -- every server ever polled
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE, -- its address without a token, or the name given in the settings
        first_seen_at REAL NOT NULL, -- UTC epoch seconds, as every time here
        last_seen_at REAL NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE server_identity ( -- what a server ran, from `at` on: a new row when anything in it changes
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        simulated INTEGER, -- 1: a simulated engine, no evidence about a real one
        started_at REAL, -- when that server process started
        setup_max_seconds REAL, setup_min_seconds REAL, -- the slowest and fastest set-up since then
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE gpu_identity ( -- what seldom changes about a GPU, from `at` on
        server_id INTEGER NOT NULL REFERENCES server(id),
        gpu_id INTEGER NOT NULL, -- the server's own numbering
        at REAL NOT NULL,
        uuid TEXT, name TEXT,
        state TEXT, -- starting, ready, failed or draining
        slots INTEGER, memory_total_bytes REAL, power_limit_watts REAL,
        PRIMARY KEY (server_id, gpu_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE host_identity ( -- what seldom changes about the machine under a server, from `at` on
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        hostname TEXT, cpu_count INTEGER, memory_total_bytes REAL,
        descriptors_soft_limit INTEGER, descriptors_hard_limit INTEGER, tasks_max INTEGER,
        somaxconn INTEGER, syn_backlog INTEGER, port_range_low INTEGER, port_range_high INTEGER, conntrack_max INTEGER,
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE server_sample ( -- one poll of one server; NULL is "not known", never 0
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL, -- when it was answered or given up
        error TEXT, -- why there was no answer, in one sentence
        state TEXT GENERATED ALWAYS AS (CASE WHEN error IS NULL THEN 'live' ELSE 'silent' END) VIRTUAL,
        poll_seconds REAL, -- how long the answer took
        status TEXT, -- the server's own word: starting, healthy, degraded, critical or draining
        slots INTEGER, slots_used INTEGER, slots_per_gpu INTEGER, streams_active INTEGER, streams_speaking INTEGER,
        gpus INTEGER,
        accepted_total INTEGER, completed_total INTEGER, failed_total INTEGER, rejected_total INTEGER, -- since start
        lag_p50_seconds REAL, lag_p95_seconds REAL, lag_p99_seconds REAL, -- of the last minute, over all streams
        final_p50_seconds REAL, final_p95_seconds REAL, -- from the end of an utterance to its final text
        partial_interval_seconds REAL,
        setup_mean_seconds REAL, -- since its start
        lag_bucket_counts TEXT, -- JSON {bucket: lag samples since the poll before}; bounds are in latency_bucket
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE gpu_sample ( -- one GPU at one poll of its server
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL, -- that of the server_sample it came with
        gpu_id INTEGER NOT NULL,
        streams_active INTEGER, streams_speaking INTEGER, memory_used_bytes REAL,
        gpu_ratio REAL, -- the device's own utilisation, 0 to 1; it is not saturation
        busy_ratio REAL, -- share of time in which the engine had a batch in work
        temperature_celsius REAL, power_watts REAL, sm_clock_hertz REAL,
        throttle_reasons TEXT, -- comma-separated; empty: none
        ecc_errors INTEGER, reading_age_seconds REAL,
        batch_fill_mean REAL, queue_wait_p95_seconds REAL, compute_p95_seconds REAL,
        audio_seconds_per_second REAL, -- throughput of the engine
        lag_p95_seconds REAL, restarts INTEGER, process_rss_bytes REAL,
        process_cpu_ratio REAL, -- of one core
        PRIMARY KEY (server_id, at, gpu_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE host_sample ( -- the machine under a server at one poll
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        cpu_ratio REAL, -- all cores together, 0 to 1
        load_1m REAL, memory_available_bytes REAL,
        front_cpu_ratio REAL, -- of one core: the server's front process
        process_rss_bytes REAL, process_cpu_ratio REAL, -- in cores
        open_descriptors INTEGER, sockets INTEGER, threads INTEGER,
        network_receive_bytes_per_second REAL, network_send_bytes_per_second REAL,
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE latency_bucket ( -- the bounds of all bucket counts
        bucket INTEGER PRIMARY KEY,
        upper_bound_seconds REAL -- inclusive; NULL: no bound
    ) STRICT
    """,
    """
    CREATE TABLE rollup_due ( -- minutes and hours whose rows changed since they were last rolled up
        tier TEXT NOT NULL, -- minute or hour
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        PRIMARY KEY (tier, server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE kept ( -- what retention removed
        tier TEXT NOT NULL, -- raw, minute or hour
        server_id INTEGER NOT NULL REFERENCES server(id),
        since REAL NOT NULL, -- rows before this time were deleted
        PRIMARY KEY (tier, server_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE sweep ( -- a load test of one server, and the keys under which its levels may enter a law
        id INTEGER PRIMARY KEY,
        server TEXT NOT NULL, started_at REAL NOT NULL, state TEXT NOT NULL, reason TEXT, finished_at REAL,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        gpus INTEGER, simulated INTEGER NOT NULL, protocol TEXT NOT NULL, chunk_seconds REAL NOT NULL,
        duty_cycle REAL NOT NULL, arrivals TEXT NOT NULL, corpus TEXT NOT NULL, objective TEXT NOT NULL,
        settings TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE level ( -- one number of streams held for a while; latencies are of words pooled over all streams
        id INTEGER PRIMARY KEY,
        sweep_id INTEGER NOT NULL REFERENCES sweep(id),
        streams INTEGER NOT NULL, repeat INTEGER NOT NULL, started_at REAL NOT NULL, duration_seconds REAL NOT NULL,
        audit TEXT NOT NULL, passed INTEGER, reason TEXT NOT NULL, achieved_concurrency REAL NOT NULL,
        words INTEGER NOT NULL,
        first_p50_seconds REAL, first_p95_seconds REAL, first_p99_seconds REAL, first_max_seconds REAL,
        first_mean_seconds REAL,
        stable_p50_seconds REAL, stable_p95_seconds REAL, stable_p99_seconds REAL, stable_max_seconds REAL,
        stable_mean_seconds REAL,
        end_to_final_p50_seconds REAL, end_to_final_p95_seconds REAL,
        connect_p95_seconds REAL, ready_p50_seconds REAL, ready_p95_seconds REAL, ready_max_seconds REAL,
        wer_ratio REAL, missing_words INTEGER, partials_per_second REAL,
        connected INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL, bytes_sent INTEGER NOT NULL,
        late_p50_seconds REAL, late_p99_seconds REAL, generator_cpu_ratio REAL,
        server_lag_p95_seconds REAL, server_busy_ratio REAL, server_gpu_ratio REAL, server_batch_fill REAL,
        server_compute_p95_seconds REAL, server_queue_p95_seconds REAL,
        gpu_memory_used_bytes REAL, streams_per_gpu REAL,
        host_cpu_ratio REAL, host_memory_used_bytes REAL, server_rss_bytes REAL, server_cpu_ratio REAL,
        front_cpu_ratio REAL, server_descriptors REAL, gpu_spread INTEGER
    ) STRICT
    """,
    "CREATE INDEX level_sweep ON level (sweep_id, streams)",
    """
    CREATE TABLE stream ( -- one stream of a level
        level_id INTEGER NOT NULL REFERENCES level(id),
        number INTEGER NOT NULL,
        gpu_id INTEGER, connect_seconds REAL, ready_seconds REAL, end_to_final_seconds REAL,
        audio_seconds REAL NOT NULL, words INTEGER NOT NULL, missing_words INTEGER NOT NULL, wer_ratio REAL,
        stable_p95_seconds REAL, first_p95_seconds REAL, partials INTEGER NOT NULL, finals INTEGER NOT NULL,
        bytes_sent INTEGER NOT NULL, late_p99_seconds REAL, outcome TEXT NOT NULL, error TEXT,
        PRIMARY KEY (level_id, number)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE plan ( -- a plan as it was given; `body` is the JSON that `plan --json` prints
        id INTEGER PRIMARY KEY,
        created_at REAL NOT NULL, server TEXT,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        simulated INTEGER NOT NULL, objective TEXT NOT NULL, provisional INTEGER NOT NULL,
        max_connections_per_gpu INTEGER, last_pass INTEGER, first_fail INTEGER, binding_resource TEXT,
        reason TEXT NOT NULL, body TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE event ( -- something that happened, as opposed to a reading
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL, server TEXT, kind TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX event_at ON event (at)",
    """
    CREATE TABLE alert ( -- a rule that held for its hold time; ended_at is NULL while it lasts
        id INTEGER PRIMARY KEY,
        rule TEXT NOT NULL, severity TEXT NOT NULL, server TEXT NOT NULL, gpu_id INTEGER,
        started_at REAL NOT NULL, -- when the condition began, not when its hold time was over
        ended_at REAL,
        min_value REAL, mean_value REAL, max_value REAL, -- of what the rule looks at, while it lasted
        sentence TEXT NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX alert_key ON alert (rule, server, coalesce(gpu_id, -1), started_at)",
)
_SECOND = (
    """
    CREATE TABLE utterance ( -- word errors of one utterance at a level, over all streams that said it
        level_id INTEGER NOT NULL REFERENCES level(id),
        clip TEXT NOT NULL, -- its name in the corpus
        words INTEGER NOT NULL, errors INTEGER NOT NULL,
        PRIMARY KEY (level_id, clip)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE word_latency ( -- how many words of a level were first shown, and stable, within a bucket's bound
        level_id INTEGER NOT NULL REFERENCES level(id),
        bucket INTEGER NOT NULL, -- bounds are in latency_bucket
        first INTEGER NOT NULL, stable INTEGER NOT NULL,
        PRIMARY KEY (level_id, bucket)
    ) STRICT, WITHOUT ROWID
    """,
    "ALTER TABLE stream ADD COLUMN replica TEXT",
)
_THIRD = (
    "ALTER TABLE server_identity ADD COLUMN reading_error TEXT",
    "ALTER TABLE gpu_identity ADD COLUMN reading_error TEXT",
)
_FOURTH = (
    "ALTER TABLE level ADD COLUMN findings TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE level ADD COLUMN reference_words INTEGER",
)
_FIFTH = (
    "ALTER TABLE stream ADD COLUMN connection_id TEXT",
    "ALTER TABLE stream ADD COLUMN server_id TEXT",
    "ALTER TABLE level ADD COLUMN servers INTEGER",
    "ALTER TABLE level ADD COLUMN gpus INTEGER",
)
_SEVENTH = (
    "ALTER TABLE alert ADD COLUMN figure TEXT",
    "ALTER TABLE alert ADD COLUMN last_value REAL",
    "ALTER TABLE alert ADD COLUMN over_limit REAL",
    "ALTER TABLE alert ADD COLUMN under_limit REAL",
    # The one kind that screens treat apart, since its figure only grows. The limits of older alerts are not known.
    "UPDATE alert SET figure = 'silent_seconds' WHERE instr(sentence, server || ': no answer for ') = 1",
)
_BINDING = (
    ("latency objective", "latency"),
    ("lag p95 (polls)", "polled_lag"),
    ("GPU step time", "step_time"),
    ("GPU busy", "gpu_busy"),
    ("GPU memory", "gpu_memory"),
    ("server core", "server_core"),
    ("host CPU", "host_cpu"),
    ("host memory", "host_memory"),
    ("set-up time", "setup_time"),
    ("descriptors", "descriptors"),
    ("connection tracking", "connection_tracking"),
    ("network", "network"),
)
"""What resources were called when plans kept only that."""

ADDED = {
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
"""Comments of columns that were added later, and of those before them: SQLite keeps none where they belong."""
