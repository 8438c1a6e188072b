"""The fleet's state and its alerts at a moment, out of the history. Imports no textual.

To read every poll of the five minutes that the screens remember takes 0.1 ms a poll: 4 s for a hundred servers. Of
servers on which nothing was wrong only what the sparklines and the rates need is read, and the newest answer; of all
others, and of small fleets, every poll, so that their alerts come out as they were seen.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import NamedTuple

from dashboard.alerts import AlertBook, AlertRule
from dashboard.fleet_state import FleetState, GpuLag, PolledFigures
from dashboard.trend import BIN_SECONDS, BINS
from whisper_ops.history import History, point_in_time
from whisper_ops.history.point_in_time import BriefPoll
from whisper_ops.snapshot import Snapshot

MEMORY_SECONDS = BINS * BIN_SECONDS + BIN_SECONDS
"""How far back a screen looks."""
_RECENT_SECONDS = 95.0
"""Of these every poll is taken: refusals are counted over a minute, from a poll at most 30 s before it."""
_FEW_POLLS = 2_500
"""So many are read within a quarter of a second, whatever was wrong."""


class PastState(NamedTuple):
    """A moment of the past."""

    fleet: FleetState
    book: AlertBook
    without_gpu_lags: Mapping[str, float]
    """The newest poll of servers whose GPUs lack their sparklines: these take as long to read as all else."""


def state_at(history: History, at: float, rules: Sequence[AlertRule]) -> PastState:
    """The fleet and the alerts at `at`, as live polls would have left them; blocks."""
    since, until = at - MEMORY_SECONDS, math.nextafter(at, math.inf)
    recent = {
        name: _polled_figures(point_in_time.briefs(history, name, at - _RECENT_SECONDS, until))
        for name in history.polls.servers()
    }
    in_full = _to_read_in_full(history, recent, since, until)
    fleet, book = FleetState(), AlertBook(rules)
    in_part = {name: polls[-1].at for name, polls in recent.items() if name not in in_full}
    for name in in_part:
        _restore(history, fleet, book, name, recent[name], since)
    polls = between(history, sorted(in_full), since, until)
    for snapshot in (*_before(history, polls, since), *polls):
        fleet.take(snapshot)
        book.take(snapshot)
    return PastState(fleet, book, in_part)


def nearest(history: History, at: float) -> float:
    """The recorded moment nearest to `at`: `at` itself where a screen of that moment shows something; blocks.

    Where nothing was recorded at all it is `at`, too.
    """
    before, after = point_in_time.last_poll(history, at), point_in_time.first_poll(history, at)
    if before is not None and at - before <= MEMORY_SECONDS:
        return at
    moments = [moment for moment in (before, after) if moment is not None]
    return min(moments, key=lambda moment: abs(moment - at), default=at)


def recording_begins(history: History) -> float | None:
    """When the first poll that is kept was recorded; blocks."""
    return point_in_time.first_poll(history)


def gpu_lags(history: History, server: str, until: float) -> list[GpuLag]:
    """For each GPU the worst lag of each bin of its sparkline up to a moment, oldest bin first; blocks."""
    since = until - MEMORY_SECONDS
    begin, found = since // BIN_SECONDS * BIN_SECONDS, []
    while begin <= until:
        lags = point_in_time.worst_gpu_lags(history, server, max(begin, since), begin + BIN_SECONDS, until)
        found += [GpuLag(gpu_id, begin, lag) for gpu_id, lag in lags.items()]
        begin += BIN_SECONDS
    return found


def _to_read_in_full(
    history: History, recent: Mapping[str, Sequence[PolledFigures]], since: float, until: float
) -> set[str]:
    """The servers of which every poll is read."""
    if sum(map(len, recent.values())) * MEMORY_SECONDS / _RECENT_SECONDS <= _FEW_POLLS:
        return set(recent)
    with_alerts = {alert.server for alert in history.polls.alerts(since, until)}
    return {name for name, polls in recent.items() if name in with_alerts or not polls or not polls[0].answered}


def between(history: History, servers: Sequence[str], since: float, until: float) -> list[Snapshot]:
    """The polls of these servers with `since <= at < until`, in the order of time."""
    return list(merge(*(history.polls.between(name, since, until) for name in servers), key=lambda poll: poll.at))


def _polled_figures(briefs: Iterable[BriefPoll]) -> list[PolledFigures]:
    return [PolledFigures(brief.at, brief.answered, brief.lag_p95_seconds, brief.rejected_total) for brief in briefs]


def _restore(
    history: History, fleet: FleetState, book: AlertBook, server: str, recent: Sequence[PolledFigures], since: float
) -> None:
    """What a server's polls leave in the fleet's state, without reading them all."""
    answer = _poll(history, server, max(poll.at for poll in recent if poll.answered))
    newest = answer if recent[-1].answered else _poll(history, server, recent[-1].at)
    earlier = _polled_figures(point_in_time.worst_lags(history, server, since, recent[0].at, BIN_SECONDS))
    fleet.restore(newest, answer, (*earlier, *recent))
    book.take(answer)


def _poll(history: History, server: str, at: float) -> Snapshot:
    return next(history.polls.between(server, at, math.nextafter(at, math.inf)))


def _before(history: History, polls: Sequence[Snapshot], moment: float) -> Iterator[Snapshot]:
    """For each server that was silent already at `moment`: its last answer, and where the silence began."""
    first: dict[str, Snapshot] = {}
    for snapshot in polls:
        first.setdefault(snapshot.server, snapshot)
    for name, snapshot in first.items():
        if snapshot.state == "silent":
            answered = point_in_time.last_answer(history, name, moment)
            silent = point_in_time.first_silence(history, name, 0.0 if answered is None else answered)
            yield from (_poll(history, name, at) for at in (answered, silent) if at is not None)
