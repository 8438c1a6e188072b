"""Units of measurement and what people write with them: `20s`, `6min`, `40/min`, `0.1%`, `53 GB`, `4096 MiB`.

One table and one way to read it, for options, settings, host profiles, objectives and the cells of tables.
"""

import math
import re
from typing import Any, Literal, NamedTuple

import click

from whisper_ops.errors import UserError
from whisper_ops.text_bounds import LINE

Kind = Literal["time", "size", "speed", "share", "power", "temperature", "frequency", "cores"]


class Unit(NamedTuple):
    """What a unit measures, and the factor that brings it to the base unit of that."""

    kind: Kind
    factor: float


BASE: dict[Kind, str] = {
    "time": "seconds", "size": "bytes", "speed": "bytes a second", "share": "a share of 1", "power": "watts",
    "temperature": "degrees Celsius", "frequency": "hertz", "cores": "cores",
}  # fmt: skip
_SIZES = {
    "b": 1.0, "byte": 1.0, "bytes": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "ki": 2.0**10, "mi": 2.0**20,
    "gi": 2.0**30, "ti": 2.0**40, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40,
}  # fmt: skip
_TIMES = {
    1e-9: ("ns",),
    1e-6: ("us", "µs", "μs", "usec", "microseconds"),
    1e-3: ("ms", "msec", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86_400.0: ("d", "day", "days"),
    604_800.0: ("w", "week", "weeks"),
}
_BITS = {"bit": 1 / 8, "kbit": 125.0, "mbit": 125e3, "gbit": 125e6}
UNITS: dict[str, Unit] = {
    **{name: Unit("time", factor) for factor, names in _TIMES.items() for name in names},
    **{name: Unit("size", factor) for name, factor in _SIZES.items()},
    **{f"{name}/s": Unit("speed", factor) for name, factor in (_SIZES | _BITS).items()},
    **{name: Unit("share", 0.01) for name in ("%", "percent", "pct", "per cent")},
    "ratio": Unit("share", 1.0),
    **{name: Unit("temperature", 1.0) for name in ("c", "°c", "celsius", "degc")},
    **{name: Unit("frequency", f) for name, f in (("hz", 1.0), ("khz", 1e3), ("mhz", 1e6), ("ghz", 1e9))},
    "core": Unit("cores", 1.0),
    "cores": Unit("cores", 1.0),
}
"""By the name in small letters. Watts are not among them: a milliwatt and a megawatt differ in the size of a letter."""
_WATTS = {"w": 1.0, "W": 1.0, "watts": 1.0, "Watts": 1.0, "mw": 1e-3, "mW": 1e-3, "kw": 1e3, "kW": 1e3, "MW": 1e6}

_PART = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?P<unit>[a-zµμ]*)", re.IGNORECASE | re.ASCII)
_AMOUNT = re.compile(r"\s*(?P<number>[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)\s*(?P<unit>[^\s0-9.,]*(?: cent)?)\s*")
_PLAIN = re.compile(r"\s*(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_RATE = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?:/|\bper\b|\ba\b|\bp)\s*(?P<unit>[a-z]+)\s*", re.IGNORECASE)
LONGEST_SECONDS = 1e10
"""Three hundred years: what is longer was a slip of the keyboard, and breaks clocks."""


def unit_of(name: str) -> Unit | None:
    """The unit of that name; None for one that nobody knows here."""
    if name in _WATTS:
        return Unit("power", _WATTS[name])
    return UNITS.get(name.lower())


def kind_of(figure: str) -> Kind | None:
    """What a figure of the history measures, by the unit in its name; None: a count, or a word."""
    for ending, kind in (
        ("_per_second", "speed" if "bytes" in figure else None), ("_seconds", "time"), ("_bytes", "size"),
        ("_ratio", "share"), ("_watts", "power"), ("_celsius", "temperature"), ("_hertz", "frequency"),
    ):  # fmt: skip
        if figure.endswith(ending):
            return kind  # type: ignore[return-value]  # mypy widens the table's strings
    return None


def whole(text: str, most: int = 10**9) -> int | None:
    """A count in plain digits from 0 to `most`; None where it is none, as `²` and `١٢` are."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18 or int(digits) > most:
        return None
    return int(digits)


def number(text: str, most: float = 1e18) -> float | None:
    """A number from 0 to `most` in plain digits, such as `0.5` or `1e-3`; None where it is none."""
    value = float(text) if _PLAIN.fullmatch(text) else math.nan
    return value if 0 <= value <= most else None


def amount(text: str) -> tuple[float, str] | None:
    """A number and the unit behind it as it was written, of an option or a setting; None where it is no such thing."""
    match = _AMOUNT.fullmatch(text) if len(text) <= LINE else None
    if match is None:
        return None
    number = float(match["number"].replace("_", ""))
    return (number, match["unit"]) if math.isfinite(number) else None


def seconds(text: str, bare: str = "s") -> float | None:
    """`90`, `90s`, `1.5 h`, `1h30m` in seconds; a bare number is in `bare`; None where it is no length of time."""
    total, at, sizes = 0.0, 0, list[float]()
    stripped = text.strip() if len(text) <= LINE else ""
    while at < len(stripped):
        match = _PART.match(stripped, at)
        unit = None if match is None else UNITS.get(match["unit"].lower() or bare)
        if match is None or unit is None or unit.kind != "time" or (sizes and unit.factor >= sizes[-1]):
            return None  # parts go from large to small, each once
        if not match["unit"] and (sizes or match.end() < len(stripped)):
            return None  # `1h30` may be half an hour or half a minute more
        total, at = total + float(match["number"]) * unit.factor, match.end()
        sizes.append(unit.factor)
    # 350 ms are 0.35 s, and not a hair more: lengths are keys of laws.
    return round(total, 9) if sizes and total <= LONGEST_SECONDS else None


def length(text: str, option: str, *, zero: bool = False) -> float:
    """`6min` in seconds; a bare number is in seconds; UserError when it is none, or 0 where that means nothing."""
    found = seconds(text)
    if found is None or (found <= 0 and not zero):
        raise UserError(f"{option} takes a length of time such as 90s, 6min or 8h, not {text!r}")
    return found


def rate(text: str, option: str) -> float:
    """`40/min` in events a second; UserError when it is none."""
    match = _RATE.fullmatch(text) if len(text) <= LINE else None
    unit = None if match is None else UNITS.get(match["unit"].lower())
    if match is None or unit is None or unit.kind != "time" or not math.isfinite(float(match["number"])):
        raise UserError(f"{option} takes a rate such as 40/min or 0.5/s, not {text!r}")
    return float(match["number"]) / unit.factor


def share(text: str, option: str) -> float:
    """`0.1%` or `0.001` as a share between 0 and 1, both excluded; UserError otherwise."""
    found = amount(text)
    unit = None if found is None else unit_of(found[1] or "ratio")
    if found is None or unit is None or unit.kind != "share" or not 0 < found[0] * unit.factor < 1:
        raise UserError(f"{option} takes a share such as 0.1% or 0.001, not {text!r}")
    return found[0] * unit.factor


class Length(click.ParamType[float]):
    """An option that takes a length of time: `20s`, `6min`, `8h`, `100ms`, or a bare number of seconds or of `bare`."""

    name = "time"

    def __init__(
        self, least: float = 0.0, most: float = LONGEST_SECONDS, *, least_open: bool = False, bare: str = "s"
    ) -> None:
        self.least, self.most, self.least_open, self.bare = least, most, least_open, bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  # click's signature
        """Seconds."""
        found = float(value) if isinstance(value, int | float) else seconds(value, self.bare)
        if found is None:
            self.fail(
                f"{value!r} is no length of time; write 90s, 6min or 8h (a bare number: {self.bare}).", param, ctx
            )
        if found < self.least or found > self.most or (self.least_open and found <= self.least):
            low = f"above {self.least:g} s" if self.least_open else f"from {self.least:g} s"
            self.fail(f"{value!r} is out of range: {low} to {self.most:g} s.", param, ctx)
        return found
