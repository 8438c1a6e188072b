"""Figures as people read them, alike in every command. What was not measured is `—`, never 0."""

import math
import re
import shutil
import sys
import textwrap

from whisper_ops.untrusted_text import printable

UNKNOWN = "—"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SIBILANT = ("s", "x", "z", "ch", "sh")


def counted(number: float | None, noun: str, plural: str | None = None) -> str:
    """A number of things: `1 level`, `1,024 levels`, `2 switches`, `0 replies`.

    Args:
        number: how many, a whole number; None: not known.
        noun: one of them; of several words the last one is put into the plural.
        plural: where the plural is no regular one, or is another word of the noun.
    """
    return f"{count(number)} {plural_of(number, noun, plural)}"


def plural_of(number: float | None, noun: str, plural: str | None = None) -> str:
    """The noun alone, as it stands after a number."""
    if number == 1:
        return noun
    if plural is not None:
        return plural
    if noun.endswith(_SIBILANT):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def times(number: int) -> str:
    """How often: `once`, `3 times`."""
    return "once" if number == 1 else f"{number:,} times"


def count(value: float | None) -> str:
    """A whole number with thousands apart: `1,024`."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else UNKNOWN


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


def planned_time(value: float) -> str:
    """How long something is to take, no finer than it matters: `45 s`, `12 min`."""
    return f"{value:.0f} s" if value < 2 * _MINUTE else f"{value / _MINUTE:.0f} min"


def age(value: float) -> str:
    """How old something is, in its largest unit and in words: `45 seconds`, `1 minute`, `3 days`."""
    for size_of_one, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if value >= size_of_one:
            return counted(value // size_of_one, unit)
    return counted(max(int(value), 0), "second")


def ago(value: float) -> str:
    """How long ago something was, in its largest unit: `6 s ago`, `7 min ago`, `2 h ago`, `3 days ago`."""
    if value >= _DAY:
        return f"{age(value)} ago"
    whole = max(int(value), 0)
    for size_of_one, unit in ((_HOUR, "h"), (_MINUTE, "min")):
        if whole >= size_of_one:
            return f"{whole // size_of_one} {unit} ago"
    return f"{whole} s ago"


def span_of_time(value: float) -> str:
    """A length of time in the unit in which it is a number of one or more: `45 seconds`, `1.5 days`."""
    for size_of_one, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if value >= size_of_one:
            return f"{value / size_of_one:.1f} {unit}"
    return f"{value:.0f} seconds"


def wrapped(text: str, width: int) -> str:
    """A text in lines of a terminal, broken between words.

    What stands in backticks is kept whole, to be copied, and so is a line that is set in by four columns or more.
    """
    kept = re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", "\0"), text)
    lines = (
        [line]
        if line.startswith("    ")
        else textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
        for line in kept.split("\n")
    )
    return "\n".join(part for parts in lines for part in parts).replace("\0", " ")


def narrated(text: str) -> str:
    """A text as stderr shows it: harmless to a terminal and in its width, whole where it goes into a pipe."""
    safe = printable(text)
    return wrapped(safe, shutil.get_terminal_size().columns) if sys.stderr.isatty() else safe


def percent(ratio: float | None) -> str:
    """A share of 0 to 1 as `83 %`; under one percent with a digit, so that little is not nothing."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    return f"{ratio * 100:.1f} %" if 0 < ratio < 0.01 else f"{ratio * 100:.0f} %"


def size(value: float | None) -> str:
    """Bytes in the decimal units of data sheets: `14.9 GB`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.{0 if value >= 100 * scale else 1}f} {unit}"
    return f"{value:.0f} B"


def binary_size(value: int) -> str:
    """A bound that was set as a power of two, as a whole number: `16 MiB`, `64 KiB`."""
    return f"{value // 2**20} MiB" if value >= 2**20 else f"{value // 2**10} KiB"
