"""The board and the alerts of a moment, out of the history. Imports no textual.

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
"""How far back a board looks."""
_RECENT_SECONDS = 95.0
"""Of these every reading is taken: refusals are counted over a minute, from a poll at most 30 s before it."""
_FEW_POLLS = 2_500
"""So many are read within a quarter of a second, whatever was wrong."""


class PastBoard(NamedTuple):
    """A moment of the past."""

    board: FleetState
    book: AlertBook
    sketched: Mapping[str, float]
    """Servers that lack the sparklines of their GPUs, which take as long as all else, and their newest poll."""


def rewound(history: History, at: float, rules: Sequence[AlertRule]) -> PastBoard:
    """The board and the alerts at `at`, as pollers would have left them, but for `sketched`; blocks."""
    since, until = at - MEMORY_SECONDS, math.nextafter(at, math.inf)
    recent = {
        name: _readings(point_in_time.briefs(history, name, at - _RECENT_SECONDS, until))
        for name in history.polls.servers()
    }
    whole = _to_be_read(history, recent, since, until)
    board, book = FleetState(), AlertBook(rules)
    sketched = {name: found[-1].at for name, found in recent.items() if name not in whole}
    for name in sketched:
        _recall(history, board, book, name, recent[name], since)
    polls = between(history, sorted(whole), since, until)
    for snapshot in (*_before(history, polls, since), *polls):
        board.take(snapshot)
        book.take(snapshot)
    return PastBoard(board, book, sketched)


def nearest(history: History, at: float) -> float:
    """The recorded moment nearest to `at`: `at` itself where a board of that moment shows something; blocks.

    Where nothing was recorded at all it is `at`, too.
    """
    before, after = point_in_time.last_poll(history, at), point_in_time.first_poll(history, at)
    if before is not None and at - before <= MEMORY_SECONDS:
        return at
    found = [moment for moment in (before, after) if moment is not None]
    return min(found, key=lambda moment: abs(moment - at), default=at)


def begins(history: History) -> float | None:
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


def _to_be_read(
    history: History, recent: Mapping[str, Sequence[PolledFigures]], since: float, until: float
) -> set[str]:
    """The servers of which every poll is read."""
    if sum(map(len, recent.values())) * MEMORY_SECONDS / _RECENT_SECONDS <= _FEW_POLLS:
        return set(recent)
    troubled = {alert.server for alert in history.polls.alerts(since, until)}
    return {name for name, found in recent.items() if name in troubled or not found or not found[0].answered}


def between(history: History, servers: Sequence[str], since: float, until: float) -> list[Snapshot]:
    """The polls of these servers with `since <= at < until`, in the order of time."""
    return list(merge(*(history.polls.between(name, since, until) for name in servers), key=lambda poll: poll.at))


def _readings(briefs: Iterable[BriefPoll]) -> list[PolledFigures]:
    return [PolledFigures(brief.at, brief.answered, brief.lag_p95_seconds, brief.rejected_total) for brief in briefs]


def _recall(
    history: History, board: FleetState, book: AlertBook, server: str, recent: Sequence[PolledFigures], since: float
) -> None:
    """Write on the board what a server's polls left there, without reading them all."""
    answer = _poll(history, server, max(reading.at for reading in recent if reading.answered))
    newest = answer if recent[-1].answered else _poll(history, server, recent[-1].at)
    earlier = _readings(point_in_time.worst_lags(history, server, since, recent[0].at, BIN_SECONDS))
    board.restore(newest, answer, (*earlier, *recent))
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
