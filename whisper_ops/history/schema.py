"""The migrations that make `history.db`. A migration that was released is never edited; a new one is added at the end.

Wide rows a poll, keyed `(server_id, at)` WITHOUT ROWID: a poll's rows lie together, and one commit touches a page or
two a server. What seldom changes (names, totals, limits) is kept apart, a row from when on: that is a third of the
size. STRICT, so that a text can never hide in a number's column.

A new column: a migration here, its comment in `column_comments`, its field in the record or figure that is stored, and
`make docs`. A new metric that is rolled up: `_add_metric`, and its name in the metrics below.
"""

from typing import TYPE_CHECKING

from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.history.first_tables import (
    BUCKET_COLUMNS,
    FIRST_GPU_METRICS,
    FIRST_TABLES,
    HOST_METRICS,
    SERVER_METRICS,
    rollup_table,
)
from whisper_ops.history.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["BUCKET_COLUMNS", "GPU_METRICS", "HOST_METRICS", "SERVER_METRICS", "migrations"]

migrations = Migrations("whisper_ops")

GPU_METRICS = (*FIRST_GPU_METRICS, "memory_busy_ratio")


@migrations()
def m001_begin(db: "Database") -> None:
    """Servers, samples and their rollups, sweeps, plans, events and alerts."""
    _execute(db, *FIRST_TABLES)
    bounds = [*LATENCY_BOUNDS_SECONDS, None]
    db.conn.executemany("INSERT INTO latency_bucket (bucket, upper_bound_seconds) VALUES (?, ?)", enumerate(bounds))
    for tier in ("minute", "hour"):
        db.execute(rollup_table("server", tier, SERVER_METRICS))
        db.execute(rollup_table("gpu", tier, FIRST_GPU_METRICS))
        db.execute(rollup_table("host", tier, HOST_METRICS))


_UTTERANCES = (
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


@migrations()
def m002_utterances(db: "Database") -> None:
    """What a sweep that goes on, its pictures and a comparison need of the levels before: utterances and latencies."""
    _execute(db, *_UTTERANCES)


@migrations()
def m003_reading_errors(db: "Database") -> None:
    """Why GPUs could not be read."""
    _execute(
        db,
        "ALTER TABLE server_identity ADD COLUMN reading_error TEXT",
        "ALTER TABLE gpu_identity ADD COLUMN reading_error TEXT",
    )


@migrations()
def m004_findings(db: "Database") -> None:
    """What was found about a level as data, so that nothing has to read our own words back."""
    _execute(
        db,
        "ALTER TABLE level ADD COLUMN findings TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE level ADD COLUMN reference_words INTEGER",
    )


@migrations()
def m005_servers(db: "Database") -> None:
    """Who answered: behind one address there may be several servers, and a GPU is one of a server."""
    _execute(
        db,
        "ALTER TABLE stream ADD COLUMN connection_id TEXT",
        "ALTER TABLE stream ADD COLUMN server_id TEXT",
        "ALTER TABLE level ADD COLUMN servers INTEGER",
        "ALTER TABLE level ADD COLUMN gpus INTEGER",
    )


@migrations()
def m006_other_load(db: "Database") -> None:
    """What other programs took of the server's machine while a level ran."""
    db.execute("ALTER TABLE level ADD COLUMN other_cpu_ratio REAL")


@migrations()
def m007_alert_figures(db: "Database") -> None:
    """What an alert's rule looks at, as data: its words are made where they are shown."""
    _execute(
        db,
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


def _execute(db: "Database", *statements: str) -> None:
    for statement in statements:
        db.execute(statement)


def _add_metric(db: "Database", kind: str, metric: str) -> None:
    """A column of samples, and those of its rollups."""
    db.execute(f"ALTER TABLE {kind}_sample ADD COLUMN {metric} REAL")
    for tier in ("minute", "hour"):
        db.execute(f"ALTER TABLE {kind}_{tier} ADD COLUMN {metric}_n INTEGER")
        for part in ("sum", "min", "max", "last"):
            db.execute(f"ALTER TABLE {kind}_{tier} ADD COLUMN {metric}_{part} REAL")
