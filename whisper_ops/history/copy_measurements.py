"""What was measured and planned, from one history into another; what was polled stays behind."""

from pathlib import Path

from whisper_ops.history.store import History

_TABLES = ("sweep", "level", "stream", "utterance", "word_latency", "plan")
"""In this order a row comes after what it belongs to."""


def copy_measured(source: Path, target: History) -> None:
    """All sweeps and plans of `source`.

    Raises:
        UserError: it cannot be read.
    """
    with History.reading(source) as old, target.database.transaction():
        for table in _TABLES:
            for row in old.database.rows(f"SELECT * FROM {table}"):
                columns, marks = ", ".join(row), ", ".join("?" * len(row))
                target.database.connection.execute(
                    f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values())
                )
