"""An objective as text, and what it asks of the figures of a level: `stable_p95_seconds<=2,wer_ratio<=+0.015`."""

import re

import msgspec

_CONDITION = re.compile(
    r"^\s*(?P<name>[a-z][a-z0-9_]*)\s*(?P<sign><=|>=|≤|≥|<|>)\s*(?P<plus>\+?)(?P<value>[0-9.]+)\s*$"
)


class Condition(msgspec.Struct, frozen=True):
    """One figure of a level, held against a bound in its own unit."""

    name: str
    at_most: bool
    bound: float
    above_one_stream: bool = False
    """The bound is added to the figure of the one-stream level."""


def parse(objective: str) -> tuple[Condition, ...]:
    """The conditions in an objective's text; a part that is not one is passed over, as it is only shown."""
    found = []
    for part in re.split(r"[,;]", objective):
        match = _CONDITION.match(part)
        if match is None:
            continue
        try:
            bound = float(match["value"])
        except ValueError:
            continue
        found.append(Condition(match["name"], match["sign"] in ("<=", "≤", "<"), bound, bool(match["plus"])))
    return tuple(found)


def bound_of(objective: str, name: str) -> float | None:
    """The upper bound of one figure; None when the objective does not speak of it."""
    bounds = [c.bound for c in parse(objective) if c.name == name and c.at_most and not c.above_one_stream]
    return min(bounds) if bounds else None


def in_words(objective: str) -> str:
    """The objective as a person reads it."""
    conditions = parse(objective)
    if not conditions:
        return objective
    return ", ".join(_words(condition) for condition in conditions)


_NAMES = {
    "stable_p95_seconds": "p95 stable word latency",
    "first_p95_seconds": "p95 first shown",
    "connected_ratio": "connection success",
    "error_ratio": "errors",
    "wer_ratio": "WER",
}


def _words(condition: Condition) -> str:
    name = _NAMES.get(condition.name, condition.name)
    sign = "≤" if condition.at_most else "≥"
    if condition.name.endswith("_seconds"):
        figure = f"{condition.bound:g} s"
    elif condition.above_one_stream:
        figure = f"that of one stream + {condition.bound * 100:g} points"
    elif condition.name.endswith("_ratio"):
        figure = f"{condition.bound * 100:g} %"
    else:
        figure = f"{condition.bound:g}"
    return f"{name} {sign} {figure}"
