"""Figures to text. Every function answers `—` for None: what was not measured is never shown as 0."""

import math
from datetime import UTC, datetime, tzinfo

UNKNOWN = "—"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def count(value: float | None) -> str:
    """A whole number with thousands apart: `1,024`."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else UNKNOWN


def cores(value: float | None) -> str:
    """Cores, of which a container may have a part: `24`, `1.5`."""
    return f"{value:,g}" if value is not None and math.isfinite(value) else UNKNOWN


def over(part: float | None, whole: float | None, width: int = 8) -> str:
    """A part of a whole, `71/72`; where there is no room for commas without them, and then in thousands: `14k/40k`."""
    text = f"{count(part)}/{count(whole)}"
    if len(text) <= width:
        return text
    plain = text.replace(",", "")
    return plain if len(plain) <= width else f"{_thousands(part)}/{_thousands(whole)}"


def _thousands(value: float | None) -> str:
    return f"{value / 1000:.3g}k" if value is not None and value >= 1000 else count(value)


def times(value: int) -> str:
    """How often: `once`, `3 times`."""
    return "once" if value == 1 else f"{value:,} times"


def number(value: float | None, digits: int = 1) -> str:
    """A number with a fixed number of digits: `9.1`."""
    return f"{value:,.{digits}f}" if value is not None and math.isfinite(value) else UNKNOWN


def seconds(value: float | None) -> str:
    """A latency, with the digits that matter: `0.62 s`, `12.3 s`, `104 s`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def milliseconds(value: float | None) -> str:
    """Seconds shown as milliseconds: `3.2 ms`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:,.0f} ms"


def duration(value: float | None) -> str:
    """How long, in its two largest units: `7 s`, `1 m 12 s`, `3 h 05 m`, `6 d 4 h`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    whole = max(0, int(value))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def percent(ratio: float | None) -> str:
    """A share of 0 to 1 as `83 %`; under one percent with a digit, so that little is not nothing."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    return f"{ratio * 100:.1f} %" if 0 < ratio < 0.01 else f"{ratio * 100:.0f} %"


def celsius(value: float | None) -> str:
    """A temperature: `71 °C`."""
    return f"{value:.0f} °C" if value is not None and math.isfinite(value) else UNKNOWN


def hertz(value: float | None) -> str:
    """A clock: `1.98 GHz`, `795 MHz`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value / 1e9:.2f} GHz" if value >= 1e9 else f"{value / 1e6:.0f} MHz"


def size(value: float | None) -> str:
    """Bytes in the decimal units of data sheets: `14.9 GB`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.{0 if value >= 100 * scale else 1}f} {unit}"
    return f"{value:.0f} B"


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
