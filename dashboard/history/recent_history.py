"""The sparklines of the minutes before a dashboard was started, out of the history. Imports no textual."""

from collections.abc import Iterable
from typing import NamedTuple

from dashboard.fleet_state import GpuLag
from dashboard.history.history_reader import HistoryReader
from dashboard.history.point_in_time import MEMORY_SECONDS, gpu_lags
from dashboard.trend import BIN_SECONDS
from whisper_ops.history import History, point_in_time


class RecentHistory(NamedTuple):
    """What one server's sparklines begin with."""

    server: str
    lags: list[tuple[float, float | None]]
    gpus: list[GpuLag]


def earlier(reader: HistoryReader, servers: Iterable[str], now: float) -> list[RecentHistory]:
    """What was recorded of these servers in the minutes before `now`; blocks.

    Raises:
        UserError: there is no history, or none that can be read.
    """

    def read(history: History) -> list[RecentHistory]:
        known = point_in_time.last_seen(history)
        return [
            RecentHistory(
                name,
                [(brief.at, brief.lag_p95_seconds) for brief in point_in_time.worst_lags(
                    history, name, now - MEMORY_SECONDS, now, BIN_SECONDS)],
                gpu_lags(history, name, now),
            )
            for name in servers
            if known.get(name, 0.0) > now - MEMORY_SECONDS
        ]  # fmt: skip

    return reader.read(read)
