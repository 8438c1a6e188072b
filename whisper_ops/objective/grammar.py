"""What a level of load must meet, as text: `"stable_p95<=2s, wer<=+1.5, errors<=0.1%"`.

One grammar for every command that takes an objective and for what the history keeps of one. A condition names a
measure and its bound with a unit; the history's form has the column's name and base units:
`stable_p95_seconds<=2`. Over a table of another load test the same grammar names the table's columns (`condition`).
"""

import re
from typing import Literal, TypeAlias

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.text_bounds import short

DEFAULT = "stable_p95<=2s, first_p95<=1s, connected>=99.9%, errors<=0.1%, wer<=+1.5"

Unit: TypeAlias = Literal["seconds", "share"]


class Measure(msgspec.Struct, frozen=True):
    """A figure of a level that an objective can bound."""

    name: str
    column: str
    """Its name in the history, with the base unit."""
    unit: Unit
    title: str
    """In words, without its quantile."""


def _durations(name: str, title: str, *quantiles: str) -> list[Measure]:
    return [Measure(f"{name}_{q}", f"{name}_{q}_seconds", "seconds", f"{q} {title}") for q in quantiles]


_ALL = (
    *_durations("first", "first-shown word latency", "p50", "p95", "p99", "max", "mean"),
    *_durations("stable", "stable word latency", "p50", "p95", "p99", "max", "mean"),
    *_durations("end_to_final", "end to final", "p50", "p95"),
    *_durations("connect", "connect time", "p95"),
    *_durations("ready", "set-up time", "p50", "p95", "max"),
    Measure("lag_p95", "server_lag_p95_seconds", "seconds", "p95 server lag"),
    Measure("connected", "connected_ratio", "share", "connections let in"),
    Measure("errors", "error_ratio", "share", "errors"),
    Measure("wer", "wer_ratio", "share", "word error rate"),
    Measure("missing", "missing_ratio", "share", "words missing"),
)
MEASURES = {measure.name: measure for measure in _ALL}
"""By the name that people write. Shares are of streams admitted, of admitted streams that failed, of words."""
_BY_COLUMN = {measure.column: measure for measure in _ALL}

_WITHIN = 1e-9
"""A figure at its bound meets it, whatever rounding did to it."""
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(
    rf"^(?P<name>.+?)\s*(?P<sign><=|>=|≤|≥|<|>)\s*(?P<plus>\+)?(?P<number>-?{_NUMBER})\s*(?P<unit>[a-zA-Z%/]*)$"
)


class ObjectiveTerm(msgspec.Struct, frozen=True):
    """One condition: a bound on a measure, or on a column of a table."""

    name: str
    at_most: bool
    limit: float
    """In base units: seconds, or a share of 1; of a table's column in its own unit."""
    relative: bool
    """Counts from the level of one stream."""
    written: str
    strict: bool = False
    """The bound itself misses."""
    unit: Unit | None = None
    """None: a table's column, in whatever unit that has."""

    def met(self, value: float, baseline: float = 0.0) -> bool:
        """Whether a figure meets it; `baseline` is that of one stream and counts only where the bound is relative."""
        bound = self.bound(baseline)
        if self.strict:
            return value < bound if self.at_most else value > bound
        return value <= bound + _WITHIN if self.at_most else value >= bound - _WITHIN

    def bound(self, baseline: float | None) -> float:
        """The figure that must be kept, from that of one stream."""
        return self.limit + (baseline or 0.0 if self.relative else 0.0)

    @property
    def sign(self) -> str:
        """As people read it."""
        return {(True, False): "≤", (True, True): "<", (False, False): "≥", (False, True): ">"}[
            self.at_most, self.strict
        ]

    @property
    def column(self) -> str:
        """The measure's column in the history, or the table's."""
        return self.name if self.unit is None else MEASURES[self.name].column

    @property
    def title(self) -> str:
        """What is bounded, in words."""
        return self.name if self.unit is None else MEASURES[self.name].title

    @property
    def canonical(self) -> str:
        """In base units, under the column's name."""
        sign = {"≤": "<=", "≥": ">="}.get(self.sign, self.sign)
        return f"{self.column}{sign}{'+' if self.relative else ''}{self.limit:.10g}"

    @property
    def readable(self) -> str:
        """For people: `p95 stable word latency ≤ 2 s`."""
        if self.unit is None:
            return f"{self.name} {self.sign} {self.limit:g}"
        if self.relative:
            return f"{self.title} {self.sign} that of one stream + {points(self.name, self.limit)}"
        return f"{self.title} {self.sign} {amount(self.name, self.limit, exact=True)}"

    def __str__(self) -> str:
        return self.readable


class Objective(msgspec.Struct, frozen=True):
    """All conditions of a load test."""

    terms: tuple[ObjectiveTerm, ...]

    def __str__(self) -> str:
        return ", ".join(term.written for term in self.terms)

    @property
    def needs_baseline(self) -> bool:
        """Whether a condition counts from the level of one stream."""
        return any(term.relative for term in self.terms)

    @property
    def readable(self) -> str:
        return ", ".join(term.readable for term in self.terms)

    @property
    def canonical(self) -> str:
        """As the history keeps it: column names and base units, which `parse` reads as well."""
        return ",".join(term.canonical for term in self.terms)

    @property
    def durations(self) -> tuple[ObjectiveTerm, ...]:
        """The conditions that say how long something may take."""
        return tuple(term for term in self.terms if term.at_most and term.unit == "seconds")

    @property
    def most_lag(self) -> float | None:
        """The largest lag of a server that meets it, in seconds: by its conditions on that, else on words.

        A word that is not shown yet is as late as the lag, at least: the lag is below the latency at which words are
        shown first, and below that at which they are stable. So the tighter of these two bounds it.

        None: it bounds none of them.
        """
        for names in (("lag_p95",), ("first_p95", "stable_p95")):
            terms = [term for term in self.terms if term.name in names and term.at_most and not term.relative]
            if terms:
                return max(min(term.limit - 2 * _WITHIN * term.strict for term in terms), 0.0)
        return None

    def limit(self, name: str) -> float | None:
        """The absolute upper limit of a measure, in seconds or as a share; None when there is none."""
        return min((t.limit for t in self.terms if t.name == name and t.at_most and not t.relative), default=None)


def amount(name: str, value: float, *, exact: bool = False) -> str:
    """A measure's figure with its unit; `exact` for a bound as a user wrote it."""
    if MEASURES[name].unit == "seconds":
        return f"{value:g} s" if exact else f"{value:.2f} s"
    return f"{value * 100:g} %" if exact else f"{value * 100:.4g} %"


def points(name: str, value: float) -> str:
    """A difference between two figures of a measure."""
    return f"{value:g} s" if MEASURES[name].unit == "seconds" else f"{value * 100:g} points"


def parse(text: str) -> Objective:
    """Read an objective, as people write it or as the history keeps it.

    Durations take `s` or `ms`; shares take `%`, and `wer<=+1.5` means 1.5 points above the level of one stream.

    Raises:
        UserError: a condition cannot be read; the sentence says which and what there is.
    """
    parts = [part.strip() for part in re.split(r"[,;]", short(text, "the objective"))]
    terms = tuple(_term(part) for part in parts if part)
    if not terms:
        raise UserError(f'an objective needs at least one condition, for example "{DEFAULT}"')
    return Objective(terms)


def read_stored(text: str) -> Objective:
    """An objective from the history; one without conditions where an older version kept what cannot be read."""
    try:
        return parse(text)
    except UserError:
        return Objective(())


def readable(text: str) -> str:
    """An objective from the history for people; as it stands where it cannot be read."""
    return read_stored(text).readable or text


def condition(text: str, unit: str | None = None) -> ObjectiveTerm:
    """Read one bound on a column of a table: `lag p95_ms<=500`, with the column's unit behind the number or none.

    Raises:
        UserError: it is not of that form, or its unit is another one.
    """
    found = _TERM.match(short(text, "the objective").strip())
    if found is None:
        raise UserError(f"cannot read the objective {text!r}; write COLUMN<=NUMBER, such as lag_p95_ms<=500")
    if found["plus"]:
        raise UserError(f"the objective {text!r} counts from one stream, which a table does not tell; write a bound")
    if found["unit"] and found["unit"] != unit:
        raise UserError(
            f"the objective {text!r} is in {found['unit']} and the table in {unit or 'no stated unit'}; "
            "write the bound in the table's unit, or name it with --unit"
        )
    return _made(found, found["name"], None, float(found["number"]), text)


def _term(written: str) -> ObjectiveTerm:
    found = _TERM.match(written)
    if found is None:
        raise UserError(f'cannot read the condition {written!r} of the objective; write it like "stable_p95<=2s"')
    number, unit, relative = float(found["number"]), found["unit"], found["plus"] is not None
    in_base_units = _BY_COLUMN.get(found["name"])
    if in_base_units is not None and not unit:
        return _made(found, in_base_units.name, in_base_units.unit, number, written)
    measure = MEASURES.get(found["name"])
    if measure is None:
        raise UserError(f"there is no measure {found['name']!r} for an objective; there are {', '.join(MEASURES)}")
    if measure.unit == "seconds" and unit not in {"s", "ms"}:
        raise UserError(f"{written!r} needs a unit, s or ms")
    if measure.unit == "share" and unit not in {"", "%"}:
        raise UserError(f"{written!r} is a share: give it in per cent")
    if measure.unit == "share" and not unit and not relative:
        raise UserError(f"{written!r} needs its per cent sign, or a + for points above the level of one stream")
    return _made(found, measure.name, measure.unit, number * {"s": 1.0, "ms": 1e-3}.get(unit, 1e-2), written)


def _made(found: re.Match[str], name: str, unit: Unit | None, limit: float, written: str) -> ObjectiveTerm:
    sign = found["sign"]
    return ObjectiveTerm(
        name, sign in {"<=", "≤", "<"}, limit, found["plus"] is not None, written, sign in {"<", ">"}, unit
    )


DEFAULT_LAG_SECONDS = parse(DEFAULT).most_lag or 0.0
"""The p95 lag of a server that just meets the default objective: screens, alerts and Prometheus' rules judge by it."""
