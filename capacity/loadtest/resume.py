"""Going on where an interrupted sweep stopped: the same command finds its own sweep in the history."""

import os
import socket
import time

import msgspec
import psutil

from capacity.loadtest.warm_up import WarmUpResult
from whisper_ops.errors import UserError
from whisper_ops.history import History, LevelRecord, StoredSweep, SweepRecord
from whisper_ops.identity import differing
from whisper_ops.lenient_json import decode_strictly
from whisper_ops.objective.judgement import is_evidence

_FRESH_SECONDS = 24 * 3600.0
"""An older sweep says little about the server of today."""
_SAME = ("server", "gpus", "protocol", "chunk_seconds", "duty_cycle", "arrivals", "corpus", "pause_share", "objective")


class ResumeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`SweepRecord.settings`: what must be the same to go on, and the caps a plan needs beside the levels."""

    plan: str
    """The levels, the search's limits or the soak, as one line."""
    level_seconds: float
    pid: int
    host_name: str
    gpu_memory_total_bytes: float | None = None
    slots: int | None = None
    slots_per_gpu: int | None = None
    address: str | None = None
    """How the server is written on a command line; None: by its name."""
    host: dict[str, object] | None = None
    warm_up: WarmUpResult | None = None
    """How the server was warmed up before the first level; None: it was not."""


def find_interrupted(history: History, sweep: SweepRecord, now: float | None = None) -> StoredSweep | None:
    """The newest sweep of the same command that did not get to its end; None when there is none.

    Raises:
        UserError: one of them still runs.
    """
    now = time.time() if now is None else now
    wanted = settings(sweep)
    for stored in reversed(history.sweeps.every()):
        there = settings(stored.sweep)
        if there is None or wanted is None or now - stored.sweep.started_at > _FRESH_SECONDS:
            continue
        if not _same(stored.sweep, sweep) or (there.plan, there.level_seconds) != (wanted.plan, wanted.level_seconds):
            continue
        if stored.sweep.state == "running" and _runs(there):
            raise UserError(
                f"the same sweep of {sweep.server} is running already (process {there.pid}); wait for it or stop it"
            )
        return stored if stored.sweep.state != "done" else None
    return None


def other_running_sweeps(history: History, sweep: SweepRecord) -> list[str]:
    """Other sweeps of the same server that run just now, as `sweep 7 (process 4711)`."""
    found = []
    for stored in history.sweeps.every():
        there = settings(stored.sweep) if stored.sweep.state == "running" else None
        if stored.sweep.server == sweep.server and there is not None and _runs(there):
            found.append(f"sweep {stored.id} (process {there.pid})")
    return found


def reusable_levels(levels: list[LevelRecord]) -> list[LevelRecord]:
    """The levels that need not be measured again: all but a last one at which the sweep broke off."""
    return levels[:-1] if levels and not is_evidence(levels[-1].audit) else levels


def settings(sweep: SweepRecord) -> ResumeSettings | None:
    """The settings of a sweep; None when another version wrote them otherwise."""
    try:
        return decode_strictly(sweep.settings, ResumeSettings)
    except msgspec.DecodeError:
        return None


def _same(one: SweepRecord, other: SweepRecord) -> bool:
    return not differing(one, other) and all(getattr(one, name) == getattr(other, name) for name in _SAME)


def _runs(there: ResumeSettings) -> bool:
    return there.host_name == socket.gethostname() and there.pid != os.getpid() and psutil.pid_exists(there.pid)
