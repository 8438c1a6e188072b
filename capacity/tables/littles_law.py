"""Whether a table's rows held the load they name: by Little's law, live = rate × time."""

import re
from collections.abc import Sequence

from capacity.tables.table import Table

HELD = 0.95
"""The share of its load that a level must really have held (Little's law) to be evidence."""
_HELD_ROUNDED = 0.85  # where the achieved load is a product of two rounded figures
_PACED = re.compile(r"^(rtfx|rtf_x|achieved.*|audio_seconds_per_second|live_streams)$", re.IGNORECASE)
_MEAN = re.compile(r"^(lat(ency)?_)?(mean|avg|average)(_lat(ency)?)?_(?P<unit>ms|s|us)$", re.IGNORECASE)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_RATE = re.compile(
    r"^(req_s|reqs_per_s|rps|qps|tps|throughput|.*(requests|samples|req)_(per_)?s)(_mean|_avg)?$", re.IGNORECASE
)


def not_held(table: Table, load: str) -> dict[int, str]:
    """Rows whose load was not really there, by Little's law, with the reason.

    In a paced test the audio processed a second is the number of live streams; in a closed loop it is the throughput
    times the mean latency. A level that reached less than its load is not evidence about its load.
    """
    loads = table.numbers(load)
    for column, achieved, least in _achieved(table, loads):
        return {
            index: (
                f"at {load} {wanted:g} only {live:.3g} were live at once ({column}, by Little's law), "
                f"under {least:.0%} of it"
            )
            for index, (wanted, live) in enumerate(zip(loads, achieved, strict=True))
            if wanted is not None and live is not None and live < least * wanted
        }
    return {}


def _achieved(table: Table, loads: Sequence[float | None]) -> list[tuple[str, list[float | None], float]]:
    """Columns that tell how many were live: (how, values, least share), the surest first."""
    found = []
    for column in table.columns:
        if _PACED.match(column):
            live = table.numbers(column)
            # Faster than real time with one client is a closed loop, where this column is a throughput.
            pairs = [(v, n) for v, n in zip(live, loads, strict=True) if v is not None and n]
            if pairs and all(v <= 1.05 * n for v, n in pairs) and min(pairs, key=lambda pair: pair[1])[0] > 0:
                found.append((column, live, HELD))
    rates = [column for column in table.columns if _RATE.match(column)]
    means = [(column, match["unit"].lower()) for column in table.columns if (match := _MEAN.match(column))]
    if rates and means and not found:
        column, unit = means[0]
        products = [
            None if rate is None or mean is None else rate * mean * _SECONDS[unit]
            for rate, mean in zip(table.numbers(rates[0]), table.numbers(column), strict=True)
        ]
        found.append((f"{rates[0]} × {column}", products, _HELD_ROUNDED))
    return found
