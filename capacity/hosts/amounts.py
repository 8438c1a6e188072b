"""Amounts as a host profile says them: `"25 MB"`, `"3-8 %"`, `[2, 5]`, `{low = 1, high = 3, typical = 2}`."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from capacity.tables.cells import number
from whisper_ops.errors import UserError
from whisper_ops.text_bounds import short
from whisper_ops.units import Kind, unit_of

_BETWEEN = re.compile(r"\s*(?:-|–|—|\.{2,3}|…|\bto\b)\s*")
_TYPICAL = re.compile(r"\s*[,;(]?\s*\b(?:typically|typical|nominally|nominal|usually)\b\s*(?P<typical>[^()]+?)\)?\s*$")
ENDS = {
    "low": ("low", "min", "least", "from"),
    "high": ("high", "max", "most", "to"),
    "typical": ("typical", "nominal"),
}
_LEAST, _MOST = 1e-9, 1e18


class AmountRange(msgspec.Struct, frozen=True):
    """An amount that is not known to the digit: its least, what is planned with, and its most."""

    low: float
    typical: float
    high: float

    def __add__(self, other: "AmountRange") -> "AmountRange":
        return AmountRange(self.low + other.low, self.typical + other.typical, self.high + other.high)

    def times(self, factor: float) -> "AmountRange":
        """So many times as much."""
        return AmountRange(self.low * factor, self.typical * factor, self.high * factor)

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing between its ends."""
        return self.low == self.high

    def whole(self) -> "AmountRange":
        """As a count: what is planned with is rounded up."""
        return AmountRange(self.low, float(math.ceil(self.typical - 1e-9)), self.high)


class AmountKind(NamedTuple):
    """What an amount may be in."""

    kinds: tuple[Kind, ...]
    """Kinds of units; none: a plain number."""
    example: str
    bare_from: float = 0.0
    bare_to: float = math.inf
    """A number with no unit outside of these may be meant in two units."""
    readings: str = ""
    """The two."""
    most: float = _MOST
    over: str = ""
    """What to do instead, where more than `most` was said."""


MEMORY = AmountKind(("size",), '"25 MB" or "53 GiB"', bare_from=1024, readings="bytes, or MB or GB")
CPU = AmountKind(
    ("share", "cores"), '"5 %" of a core or "0.05 cores"', bare_to=1, readings="cores, or per cent of a core"
)
CORES = AmountKind(("cores",), "24")
COUNT = AmountKind((), "28231")
EFFICIENCY = AmountKind(
    ("share",), '"90 %" or 0.9', most=1,
    over="where calls wait and more of them fit, say duty in [per_call], the share of a call in which it works",
)  # fmt: skip
SHARE = AmountKind(("share",), '"60 %" or 0.6', bare_to=1, readings="times the whole, or per cent", most=1)


def is_span(value: object) -> bool:
    """Whether a section is one amount said by its ends, and not a list of causes."""
    return isinstance(value, Mapping) and bool(value) and all(_end(key) is not None for key in value)


def span(where: str, value: object, measure: AmountKind, factor: float = 1.0) -> AmountRange:
    """Read an amount.

    Args:
        where: file and key, for the sentence of a refusal.
        value: a number, a text, a list of two or three, or a section of ends.
        measure: what it may be in.
        factor: what a unit in the key makes of a bare number; 1 for none.

    Raises:
        UserError: it is no such amount, may be two, or its ends are out of order.
    """
    parts = _parts(where, value)
    low, high = (_one(where, parts[end], measure, factor) for end in ("low", "high"))
    typical = _one(where, parts["typical"], measure, factor) if "typical" in parts else (low + high) / 2
    if not low <= typical <= high:
        raise UserError(f"{where} is {value!r}, whose ends are out of order; write the least first")
    return AmountRange(low, typical, high)


def _parts(where: str, value: object) -> dict[str, object]:
    """The ends of an amount as they were said; units of the last end hold for the ones before that have none."""
    if isinstance(value, Mapping):
        found = {end: said for key, said in value.items() if (end := _end(key)) is not None}
        if "low" not in found or "high" not in found or len(found) != len(value):
            raise UserError(f"{where} is {value!r}; a section of ends has low and high, and may have typical")
        return found
    if isinstance(value, list):
        if len(value) not in (2, 3):
            raise UserError(f"{where} is {value!r}; a list is [low, high] or [low, typical, high]")
        return {"low": value[0], "high": value[-1], **({"typical": value[1]} if len(value) == 3 else {})}
    if not isinstance(value, str):
        return {"low": value, "high": value}
    text = short(value, where).strip()
    typical = _TYPICAL.search(text)
    ends = _BETWEEN.split(text[: typical.start()] if typical else text)
    if len(ends) == 1:
        return {"low": ends[0], "high": ends[0], **({"typical": typical["typical"]} if typical else {})}
    if len(ends) != 2 or not all(ends):
        raise UserError(f'{where} is {value!r}; write one amount, or two as in "15-30 MB"')
    unit = (read := number(ends[1])) and read.unit
    low = ends[0] if (first := number(ends[0])) is None or first.unit or not unit else f"{ends[0]} {unit}"
    said: dict[str, object] = {"low": low, "high": ends[1]}
    if typical:
        third = number(typical["typical"])
        said["typical"] = f"{typical['typical']} {unit}" if third and not third.unit and unit else typical["typical"]
    return said


def _end(key: object) -> str | None:
    return next((end for end, names in ENDS.items() if str(key).lower() in names), None)


def _one(where: str, value: object, measure: AmountKind, factor: float) -> float:
    """One end in base units."""
    amount = _in_base_units(where, value, measure, factor)
    if amount < 0:
        raise UserError(f"{where} is {value!r}, which cannot be below 0")
    if 0 < amount < _LEAST:
        raise UserError(f"{where} is {value!r}, which is too little to be counted; leave it out")
    if not amount <= measure.most:  # nor is what is no number
        most = "1" if measure.most == 1 else "what a machine can have"
        way_out = measure.over or f"write an amount such as {measure.example}"
        raise UserError(f"{where} is {value!r}, which is over {most}; {way_out}")
    return amount


def _in_base_units(where: str, value: object, measure: AmountKind, factor: float) -> float:
    bare, unit = _read(where, value, measure)
    if unit:
        known = unit_of(unit)
        if known is None or known.kind not in measure.kinds:
            raise _no_amount(where, value, measure)
        return bare * known.factor
    if factor == 1.0 and (bare > measure.bare_to or 0 < bare < measure.bare_from):
        raise UserError(
            f"{where} is {value!r} with no unit, which may be {measure.readings}; write it with one, as in "
            f"{measure.example}"
        )
    return bare * factor


def _read(where: str, value: object, measure: AmountKind) -> tuple[float, str]:
    """The number and its unit as they were written."""
    if isinstance(value, str):
        found = number(value)
        if found is None or "." not in found.values:
            raise _no_amount(where, value, measure)
        return found.values["."], found.unit
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _no_amount(where, value, measure)
    try:
        return float(value), ""
    except OverflowError:
        return math.inf, ""


def _no_amount(where: str, value: object, measure: AmountKind) -> UserError:
    kind = "a number with a unit" if measure.kinds else "a plain number"
    return UserError(f"{where} is {value!r}, which is not {kind}; write it as in {measure.example}")
