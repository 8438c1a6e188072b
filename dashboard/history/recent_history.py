"""The sparklines of the minutes before a dashboard was started, out of the history. Imports no textual."""

from collections.abc import Iterable
from typing import NamedTuple

from dashboard.fleet_state import GpuLag
from dashboard.history.history_reader import HistoryReader
from dashboard.history.point_in_time import MEMORY_SECONDS, gpu_lags
from dashboard.trend import BIN_SECONDS
from whisper_ops.history import History, point_in_time


class RecentHistory(NamedTuple):
    """Lags of one server, as (time, lag), and of its GPUs: the worst of each bin, oldest first."""

    server: str
    lags: list[tuple[float, float | None]]
    gpus: list[GpuLag]


def recent_history(reader: HistoryReader, servers: Iterable[str], now: float) -> list[RecentHistory]:
    """The lags recorded of these servers in the minutes before `now`; blocks.

    Raises:
        UserError: there is no history, or none that can be read.
    """

    def read(history: History) -> list[RecentHistory]:
        polled_at = point_in_time.last_seen(history)
        return [
            RecentHistory(
                name,
                [(brief.at, brief.lag_p95_seconds) for brief in point_in_time.worst_lags(
                    history, name, now - MEMORY_SECONDS, now, BIN_SECONDS)],
                gpu_lags(history, name, now),
            )
            for name in servers
            if polled_at.get(name, 0.0) > now - MEMORY_SECONDS
        ]  # fmt: skip

    return reader.read(read)
