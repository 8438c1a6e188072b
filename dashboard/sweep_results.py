"""What a sweep that ran in the background measured, from the history that it was kept in. Imports no textual."""

import sqlite3
from pathlib import Path

from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, LevelRecord
from whisper_ops.server_names import canonical_name


def verdict(path: Path, server: str) -> str | None:
    """Which levels of the last sweep of a server passed, and why the first other one did not; blocks.

    None where nothing was measured, or the history cannot be read.
    """
    try:
        with History.reading(path) as history:
            sweeps = [
                stored.id
                for stored in history.sweeps.every()
                if canonical_name(stored.sweep.server) == canonical_name(server)
            ]
            levels = history.sweeps.levels(sweeps[-1]) if sweeps else []
    except (UserError, sqlite3.Error):
        return None
    return _summary(levels) if levels else None


def _summary(levels: list[LevelRecord]) -> str:
    passed = [level for level in levels if level.passed]
    failed = [level for level in levels if level.passed is False]
    unanswered = [level for level in levels if level.passed is None]
    parts = []
    if passed:
        parts.append(f"{counted(max(level.streams for level in passed), 'stream')} passed")
    if failed:
        first = _least(failed)
        lead = counted(first.streams, "stream")
        parts.append(f"{lead} did not{_why(first)}" if passed else f"no level passed, the least of {lead}{_why(first)}")
    if unanswered:
        # A level that was disturbed, or too short, or whose generator was late, says neither yes nor no.
        first = _least(unanswered)
        lead = f"{counted(first.streams, 'stream')} gave no answer" if passed or failed else "no level gave an answer"
        parts.append(f"{lead}{_why(first)}")
    return "; ".join(parts)


def _least(levels: list[LevelRecord]) -> LevelRecord:
    return min(levels, key=lambda level: level.streams)


def _why(level: LevelRecord) -> str:
    return f": {level.reason}" if level.reason else ""
