"""The tables of the first released version, which migration m001 makes. They were released, so they are never edited.

The comments are part of the schema: `.schema` in any SQLite tool shows them, and docs/history.md is made of them.
"""

SERVER_METRICS = (
    "slots", "slots_used", "streams_active", "streams_speaking",
    "accepted_total", "completed_total", "failed_total", "rejected_total",
    "lag_p50_seconds", "lag_p95_seconds", "lag_p99_seconds", "final_p50_seconds", "final_p95_seconds",
    "partial_interval_seconds", "setup_mean_seconds",
)  # fmt: skip
FIRST_GPU_METRICS = (
    "streams_active", "streams_speaking", "memory_used_bytes", "gpu_ratio", "busy_ratio", "temperature_celsius",
    "power_watts", "sm_clock_hertz", "batch_fill_mean", "queue_wait_p95_seconds", "compute_p95_seconds",
    "audio_seconds_per_second", "lag_p95_seconds", "process_rss_bytes", "process_cpu_ratio",
)  # fmt: skip
HOST_METRICS = (
    "cpu_ratio", "load_1m", "memory_available_bytes", "front_cpu_ratio", "process_rss_bytes", "process_cpu_ratio",
    "open_descriptors", "sockets", "threads", "network_receive_bytes_per_second", "network_send_bytes_per_second",
)  # fmt: skip
BUCKET_COLUMNS = ("lag_bucket_counts",)


def rollup_table(kind: str, tier: str, metrics: tuple[str, ...]) -> str:
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


FIRST_TABLES = (
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
