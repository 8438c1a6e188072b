"""The tables of `history.db`, as migrations. A migration that was released is never edited; a new one is added.

Wide rows a poll, keyed `(server_id, at)` or `(server_id, gpu_id, at)` WITHOUT ROWID: measured at 7 to 11 bytes a value,
against 2 MiB of WAL a tick for one row a series. STRICT, so that a text can never hide in a number's column.
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("whisper_ops")

SAMPLE_TABLES = ("server_sample", "gpu_sample", "host_sample")


@migrations()
def m001_first(db: Database) -> None:
    """Servers, samples, sweeps, plans and events."""
    for statement in _FIRST:
        db.execute(statement)


_FIRST = (
    """
    CREATE TABLE server (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        first_seen_at REAL NOT NULL,
        last_seen_at REAL NOT NULL
    ) STRICT
    """,
    # What a server ran, from when on: a new row whenever anything in it changes.
    """
    CREATE TABLE server_identity (
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        simulated INTEGER NOT NULL,
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE server_sample (
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        state TEXT NOT NULL, error TEXT, poll_seconds REAL,
        status TEXT, started_at REAL, slots INTEGER, slots_used INTEGER, slots_per_gpu INTEGER,
        streams_active INTEGER, streams_speaking INTEGER, gpus INTEGER,
        accepted_total INTEGER, completed_total INTEGER, failed_total INTEGER, rejected_total INTEGER,
        lag_p50_seconds REAL, lag_p95_seconds REAL, lag_p99_seconds REAL,
        final_p50_seconds REAL, final_p95_seconds REAL, partial_interval_seconds REAL,
        setup_mean_seconds REAL, setup_max_seconds REAL, setup_min_seconds REAL,
        lag_bucket_counts TEXT,
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE gpu_sample (
        server_id INTEGER NOT NULL REFERENCES server(id),
        gpu_id INTEGER NOT NULL,
        at REAL NOT NULL,
        uuid TEXT, name TEXT, state TEXT, streams_active INTEGER, streams_speaking INTEGER, slots INTEGER,
        memory_total_bytes REAL, memory_used_bytes REAL, gpu_ratio REAL, busy_ratio REAL,
        temperature_celsius REAL, power_watts REAL, power_limit_watts REAL, sm_clock_hertz REAL,
        throttle_reasons TEXT, ecc_errors INTEGER, reading_age_seconds REAL,
        batch_fill_mean REAL, queue_wait_p95_seconds REAL, compute_p95_seconds REAL,
        audio_seconds_per_second REAL, lag_p95_seconds REAL, restarts INTEGER,
        process_rss_bytes REAL, process_cpu_ratio REAL,
        PRIMARY KEY (server_id, gpu_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE host_sample (
        server_id INTEGER NOT NULL REFERENCES server(id),
        at REAL NOT NULL,
        hostname TEXT, cpu_count INTEGER, cpu_ratio REAL, load_1m REAL,
        memory_total_bytes REAL, memory_available_bytes REAL,
        front_cpu_ratio REAL, process_rss_bytes REAL, process_cpu_ratio REAL,
        open_descriptors INTEGER, descriptors_soft_limit INTEGER, descriptors_hard_limit INTEGER,
        sockets INTEGER, threads INTEGER, tasks_max INTEGER, somaxconn INTEGER, syn_backlog INTEGER,
        port_range_low INTEGER, port_range_high INTEGER, conntrack_max INTEGER,
        network_receive_bytes_per_second REAL, network_send_bytes_per_second REAL,
        PRIMARY KEY (server_id, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE sweep (
        id INTEGER PRIMARY KEY,
        server TEXT NOT NULL, started_at REAL NOT NULL, state TEXT NOT NULL, reason TEXT, finished_at REAL,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        gpus INTEGER, simulated INTEGER NOT NULL, protocol TEXT NOT NULL, chunk_seconds REAL NOT NULL,
        duty_cycle REAL NOT NULL, arrivals TEXT NOT NULL, corpus TEXT NOT NULL, objective TEXT NOT NULL,
        settings TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE level (
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
    CREATE TABLE stream (
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
    CREATE TABLE plan (
        id INTEGER PRIMARY KEY,
        created_at REAL NOT NULL, server TEXT,
        software TEXT, version TEXT, engine TEXT, model TEXT, compute_type TEXT, max_batch INTEGER, gpu_name TEXT,
        simulated INTEGER NOT NULL, objective TEXT NOT NULL, provisional INTEGER NOT NULL,
        max_connections_per_gpu INTEGER, last_pass INTEGER, first_fail INTEGER, binding_resource TEXT,
        reason TEXT NOT NULL, body TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL, server TEXT, kind TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX event_at ON event (at)",
)
