"""Figures to text: those of all commands, and those of the screens alone. Every one answers `—` for None."""

import math
from datetime import UTC, datetime, tzinfo

from whisper_ops.formatting import (
    UNKNOWN,
    count,
    counted,
    duration,
    milliseconds,
    number,
    percent,
    plural_of,
    seconds,
    size,
    times,
)

__all__ = [
    "UNKNOWN", "celsius", "clock", "cores", "count", "counted", "duration", "fitted", "hertz", "milliseconds", "moment",
    "number", "over", "percent", "plural_of", "seconds", "share", "size", "size_of", "times", "watts_of", "when",
]  # fmt: skip


def cores(value: float | None) -> str:
    """Cores, of which a container may have a part: `24 cores`, `1.5 cores`."""
    known = value is not None and math.isfinite(value)
    return f"{value:,g} {plural_of(value, 'core')}" if value is not None and known else f"{UNKNOWN} cores"


def over(part: float | None, whole: float | None, width: int = 8) -> str:
    """A part of a whole, `71/72`; where there is no room for commas without them, and then in thousands: `14k/40k`."""
    text = f"{count(part)}/{count(whole)}"
    if len(text) <= width:
        return text
    plain = text.replace(",", "")
    return plain if len(plain) <= width else f"{_thousands(part)}/{_thousands(whole)}"


def _thousands(value: float | None) -> str:
    return f"{value / 1000:.3g}k" if value is not None and value >= 1000 else count(value)


def celsius(value: float | None) -> str:
    """A temperature: `71 °C`."""
    return f"{value:.0f} °C" if value is not None and math.isfinite(value) else UNKNOWN


def hertz(value: float | None) -> str:
    """A clock: `1.98 GHz`, `795 MHz`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value / 1e9:.2f} GHz" if value >= 1e9 else f"{value / 1e6:.0f} MHz"


def size_of(used: float | None, total: float | None) -> str:
    """Used of total in GB: `14.9/80 GB`."""
    if used is None and total is None:
        return UNKNOWN
    first = UNKNOWN if used is None else f"{used / 1e9:.1f}"
    return f"{first} GB" if total is None else f"{first}/{total / 1e9:.0f} GB"


def watts_of(power: float | None, limit: float | None) -> str:
    """Power and its limit: `412/700 W`."""
    if power is None:
        return UNKNOWN
    return f"{power:.0f} W" if limit is None else f"{power:.0f}/{limit:.0f} W"


def share(used: float | None, total: float | None) -> float | None:
    """Used over total; None when either is not known or there is no total."""
    return None if used is None or not total else used / total


def clock(at: float | None, zone: tzinfo | None = None) -> str:
    """A time of day where the reader is: `14:03:27`."""
    return UNKNOWN if at is None else _local(at, zone).strftime("%H:%M:%S")


def moment(at: float | None, zone: tzinfo | None = None) -> str:
    """A day and a time of day where the reader is: `Tue 21 Nov 14:03:27`."""
    return UNKNOWN if at is None else _local(at, zone).strftime("%a %d %b %H:%M:%S")


def when(at: float, now: float, zone: tzinfo | None = None) -> str:
    """A time of day, with its day where that is not today's: `14:03:27`, `14:03:27 Tue 21 Nov`."""
    there = _local(at, zone)
    return there.strftime("%H:%M:%S" if there.date() == _local(now, zone).date() else "%H:%M:%S %a %d %b")


def _local(at: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(zone)


def fitted(name: str, width: int) -> str:
    """A name in `width` cells, cut in the middle: names of one fleet differ at their ends. A port stays whole."""
    if len(name) <= width:
        return name
    _, _, port = name.rpartition(":")
    whole = len(port) + 1 if port.isdigit() else 0
    end = max(0, (width - 1) * 2 // 3, min(whole, width - 2))
    return (name[: width - 1 - end] + "…" + name[len(name) - end :])[: max(0, width)]
