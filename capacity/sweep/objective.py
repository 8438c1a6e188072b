"""What a load must meet to count as carried: `"stable_p95<=2s, wer<=+1.5, errors<=0.1%"`."""

import re
from collections.abc import Collection, Mapping

import msgspec

from whisper_ops.errors import UserError

DEFAULT = "stable_p95<=2s, first_p95<=1s, connected>=99.9%, errors<=0.1%, wer<=+1.5"

SECONDS = {
    **{
        f"{kind}_{q}": f"{kind}_{q}_seconds"
        for kind in ("first", "stable")
        for q in ("p50", "p95", "p99", "max", "mean")
    },
    "end_to_final_p50": "end_to_final_p50_seconds",
    "end_to_final_p95": "end_to_final_p95_seconds",
    "connect_p95": "connect_p95_seconds",
    "ready_p50": "ready_p50_seconds",
    "ready_p95": "ready_p95_seconds",
    "ready_max": "ready_max_seconds",
    "lag_p95": "server_lag_p95_seconds",
}
"""Durations: the name in an objective, and the column it is read from."""
_RATIOS = {
    "connected": "connected_ratio",
    "errors": "error_ratio",
    "wer": "wer_ratio",
    "missing": "missing_ratio",
}
SHARES = tuple(_RATIOS)
"""Shares: of streams admitted, of admitted streams that failed, of words wrong, of words that never came."""

_TITLES = {
    "first": "first-shown word latency",
    "stable": "stable word latency",
    "end_to_final": "end to final",
    "connect": "connect time",
    "ready": "set-up time",
    "lag": "server lag",
    "connected": "connections let in",
    "errors": "errors",
    "wer": "word error rate",
    "missing": "words missing",
}
_BASE_UNITS = {column: name for name, column in (*SECONDS.items(), *_RATIOS.items())}

_TERM = re.compile(
    r"^(?P<name>[a-z_0-9]+)\s*(?P<op><=|>=|<|>)\s*(?P<plus>\+)?(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>ms|s|%)?$"
)
_WITHIN = 1e-9


class Term(msgspec.Struct, frozen=True):
    """One condition. `limit` is in seconds or a share of 1; `relative` counts from the level of one stream."""

    name: str
    at_most: bool
    limit: float
    relative: bool
    written: str

    def missed(self, value: float | None, baseline: float | None) -> str | None:
        """Why the condition is not met, in a few words; None when it is."""
        if value is None:
            return f"{self.name} was not measured"
        if self.relative and baseline is None:
            return f"{self.name} of one stream was not measured, and {self.written} counts from it"
        limit = self.limit + (baseline or 0.0 if self.relative else 0.0)
        good = value <= limit + _WITHIN if self.at_most else value >= limit - _WITHIN
        if good:
            return None
        than = f"{self._show(limit)} ({self.written} of one stream)" if self.relative else self._show(limit)
        return f"{self.name} {self._show(value)} {'>' if self.at_most else '<'} {than}"

    @property
    def canonical(self) -> str:
        """In base units, under the column's name."""
        name = SECONDS.get(self.name) or _RATIOS[self.name]
        return f"{name}{'<=' if self.at_most else '>='}{'+' if self.relative else ''}{self.limit:.10g}"

    @property
    def readable(self) -> str:
        """For people: `p95 stable word latency ≤ 2 s`."""
        kind, _, quantile = self.name.rpartition("_")
        title = f"{quantile} {_TITLES[kind]}" if kind else _TITLES[self.name]
        sign = "≤" if self.at_most else "≥"
        if self.relative:
            points = f"{self.limit * 100:g} points" if self.name in _RATIOS else f"{self.limit:g} s"
            return f"{title} {sign} that of one stream + {points}"
        return f"{title} {sign} " + (f"{self.limit:g} s" if self.name in SECONDS else f"{self.limit * 100:g} %")

    def _show(self, value: float) -> str:
        return f"{value:.2f} s" if self.name in SECONDS else f"{value * 100:.4g} %"


class Objective(msgspec.Struct, frozen=True):
    """All conditions of a load test."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return ", ".join(term.written for term in self.terms)

    @property
    def needs_baseline(self) -> bool:
        """Whether a condition counts from the level of one stream."""
        return any(term.relative for term in self.terms)

    @property
    def readable(self) -> str:
        """For people."""
        return ", ".join(term.readable for term in self.terms)

    @property
    def canonical(self) -> str:
        """As the history keeps it: column names and base units, which `parse` reads as well."""
        return ",".join(term.canonical for term in self.terms)

    def missed(
        self,
        figures: Mapping[str, float | None],
        baseline: Mapping[str, float | None],
        settled: Collection[str] = (),
    ) -> list[str]:
        """Which conditions are missed, in a few words each; none: the objective is met.

        Args:
            figures: the measures of a level.
            baseline: those of one stream.
            settled: conditions, as written, that were judged elsewhere.
        """
        misses = [
            term.missed(figures.get(term.name), baseline.get(term.name))
            for term in self.terms
            if term.written not in settled
        ]
        return [miss for miss in misses if miss is not None]

    def limit(self, name: str) -> float | None:
        """The absolute upper limit of a measure, in seconds or as a share; None when there is none."""
        return next((t.limit for t in self.terms if t.name == name and t.at_most and not t.relative), None)


def parse(text: str) -> Objective:
    """Read an objective.

    Durations take `s` or `ms`; shares take `%`, and `wer<=+1.5` means 1.5 points above the level of one stream.

    Raises:
        UserError: a condition cannot be read; the sentence says which and what there is.
    """
    terms = tuple(_term(part.strip()) for part in text.split(",") if part.strip())
    if not terms:
        raise UserError(f'an objective needs at least one condition, for example "{DEFAULT}"')
    return Objective(terms)


def _term(written: str) -> Term:
    found = _TERM.match(written)
    if found is None:
        raise UserError(f'cannot read the condition {written!r} of the objective; write it like "stable_p95<=2s"')
    name, unit, relative = found["name"], found["unit"], found["plus"] is not None
    if name in _BASE_UNITS and unit is None:
        return Term(_BASE_UNITS[name], found["op"].startswith("<"), float(found["number"]), relative, written)
    if name not in SECONDS and name not in SHARES:
        raise UserError(f"there is no measure {name!r} for an objective; there are {', '.join((*SECONDS, *SHARES))}")
    if name in SECONDS and unit not in {"s", "ms"}:
        raise UserError(f"{written!r} needs a unit, s or ms")
    if name in SHARES and unit in {"s", "ms"}:
        raise UserError(f"{written!r} is a share: give it in per cent")
    if name in SHARES and unit is None and not relative:
        raise UserError(f"{written!r} needs its per cent sign, or a + for points above the level of one stream")
    scale = {"s": 1.0, "ms": 1e-3}.get(unit or "", 1e-2)
    return Term(name, found["op"].startswith("<"), float(found["number"]) * scale, relative, written)
