"""What a sweep that ran beside the dashboard found, from the history that it was kept in. Imports no textual."""

import sqlite3
from pathlib import Path

from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, LevelRecord
from whisper_ops.names import plain


def verdict(path: Path, server: str) -> str | None:
    """Which levels of the last sweep of a server passed, and why the first other one did not; blocks.

    None where nothing was measured, or the history cannot be read.
    """
    try:
        with History.reading(path) as history:
            own = [stored.id for stored in history.sweeps.every() if plain(stored.sweep.server) == plain(server)]
            levels = history.sweeps.levels(own[-1]) if own else []
    except (UserError, sqlite3.Error):
        return None
    return _said(levels) if levels else None


def _said(levels: list[LevelRecord]) -> str:
    passed = [level.streams for level in levels if level.passed]
    missed = [level for level in levels if not level.passed]
    parts = []
    if passed:
        parts.append(f"{counted(max(passed), 'stream')} passed")
    if missed:
        first = min(missed, key=lambda level: level.streams)
        why = f": {first.reason}" if first.reason else ""
        parts.append(f"{counted(first.streams, 'stream')} did not{why}" if passed else f"{_none_of(missed)}{why}")
    return "; ".join(parts)


def _none_of(missed: list[LevelRecord]) -> str:
    return f"no level passed, the least of {counted(min(level.streams for level in missed), 'stream')}"
