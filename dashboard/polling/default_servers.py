"""Which servers to open when none is named: those of the history, else this machine and what may run on it."""

import math
import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec

from dashboard.polling.server_list import ServerEntry, checked, from_argument
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, ReachedRecord, point_in_time
from whisper_ops.known_software import LOCAL, WHISPER_OPS
from whisper_ops.lenient_json import decode_strictly
from whisper_ops.server_names import default_name

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `whisper-ops serve` listens unless it is told otherwise."""
_TOGETHER_SECONDS = 86_400.0
"""Servers polled so long before the newest poll still belong to what is watched; older ones are gone."""


class DefaultServers(NamedTuple):
    """Servers, and the sentence that says why these."""

    servers: list[ServerEntry]
    reason: str
    keep_addresses: bool = True
    """Whether the history is to know how they are reached: not that of a guess, which nobody ever named."""


def known_servers(history: Path) -> DefaultServers:
    """What to watch when nothing was named; blocks."""
    found = _of_history(history)
    if found:
        return DefaultServers(found, f"no server was named: watching the {counted(len(found), 'server')} of {history}")
    local = [ServerEntry(kind=LOCAL), ServerEntry(url=DEFAULT_URL)]
    return DefaultServers(
        local, f"no server was named: watching this machine and {default_name(DEFAULT_URL)}", keep_addresses=False
    )


def _of_history(path: Path) -> list[ServerEntry]:
    try:
        with History.reading(path) as history:
            newest = max(point_in_time.last_seen(history).values(), default=0.0)
            records = history.polls.watched(newest - _TOGETHER_SECONDS) or _swept(history)
            answered = {
                one.server for one in records if point_in_time.last_answer(history, one.server, math.inf) is not None
            }
    except (UserError, sqlite3.Error):
        return []
    # One that never answered is a slip of the finger, unless none did.
    records = [one for one in records if one.server in answered] or records
    servers: dict[str, ServerEntry] = {}
    for record in records:
        server = _server(record)
        if server is not None:  # replicas of one name are found behind it again
            servers.setdefault(server.label, server)
    return list(servers.values())


def _swept(history: History) -> list[ReachedRecord]:
    """Where nothing was ever polled: the server that was load tested last."""
    ours = [one.sweep for one in history.sweeps.every() if one.sweep.software == WHISPER_OPS]
    return [ReachedRecord(server=max(ours, key=lambda sweep: sweep.started_at).server, reached_by=None)] if ours else []


def _server(record: ReachedRecord) -> ServerEntry | None:
    """How to reach it; None where nothing tells. A token that the file would name is not believed: it is data."""
    try:
        if record.reached_by is None:  # an older version kept only names, which are addresses where none was given
            return from_argument(record.server) if ":" in record.server else None
        stored = decode_strictly(record.reached_by, ServerEntry)
        return checked(msgspec.structs.replace(stored, token_env=None, token_file=None))
    except (UserError, msgspec.MsgspecError):
        return None
