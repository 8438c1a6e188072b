"""Stopping a level whose answer is known: nobody learns more from a minute of a server that drowns."""

from capacity.loadgen.messages import LoadProgress
from whisper_ops.objective import Objective
from whisper_ops.objective.findings import StoppedEarly

_TIMES_THE_LIMIT = 4.0
_AT_LEAST_SECONDS = 6.0
_IN_A_ROW = 5
"""Reports, one a second: a pause of the server is not its end."""


class StopRule:
    """Watches one level. `seen` answers with the reason once there is no hope left."""

    def __init__(self, streams: int, objective: Objective) -> None:
        limits = [limit for name in ("stable_p95", "first_p95", "stable_p50") if (limit := objective.limit(name))]
        self._limit = max(_AT_LEAST_SECONDS, _TIMES_THE_LIMIT * min(limits)) if limits else None
        self._streams = streams
        self._late = 0
        self._broken = 0

    def seen(self, progress: LoadProgress) -> StoppedEarly | None:
        """The reason to stop now; None to go on."""
        self._broken = self._broken + 1 if progress.failed * 2 > self._streams else 0
        if self._broken >= _IN_A_ROW:
            return StoppedEarly(self._streams, ended=progress.failed)
        behind = progress.behind_p50_seconds
        hopeless = self._limit is not None and behind is not None and behind > self._limit
        self._late = self._late + 1 if hopeless else 0
        if self._late >= _IN_A_ROW:
            return StoppedEarly(self._streams, behind_seconds=self._limit)
        return None
