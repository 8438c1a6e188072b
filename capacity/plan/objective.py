"""An objective as text, and what it asks of the figures of a level: `stable_p95_seconds<=2,wer_ratio<=+0.015`."""

import re
from collections.abc import Sequence

import msgspec

from whisper_ops.errors import Exit, UserError
from whisper_ops.history import LevelRecord

DEFAULT_OBJECTIVE = (
    "stable_p95_seconds<=2,first_p95_seconds<=1,connected_ratio>=0.999,error_ratio<=0.001,wer_ratio<=+0.015"
)
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

    @property
    def title(self) -> str:
        """What is bounded, in words."""
        return _NAMES.get(self.name, self.name)

    def met(self, level: LevelRecord, one_stream: LevelRecord | None) -> bool | None:
        """Whether a level meets it; None where the figure was not measured."""
        value, bound = figure_of(level, self.name), self.bound
        if self.above_one_stream:
            base = None if one_stream is None else figure_of(one_stream, self.name)
            if base is None:
                return None
            bound += base
        if value is None:
            return None
        return value <= bound + 1e-9 if self.at_most else value >= bound - 1e-9


def figure_of(level: LevelRecord, name: str) -> float | None:
    """A figure of a level by the name it has in an objective: a column, or a share of its counts."""
    # `connected` also counts streams that failed later on; admitted are those that were not refused.
    if name == "connected_ratio":
        return level.connected / level.streams if _counted(level) else None
    if name == "error_ratio":
        return level.failed / max(1, level.streams - level.refused) if _counted(level) else None
    value = getattr(level, name, None)
    return float(value) if isinstance(value, int | float) else None


def _counted(level: LevelRecord) -> bool:
    """Whether the level says what became of its streams, which an imported one does not."""
    return level.connected + level.refused + level.failed > 0


def rejudged(levels: Sequence[LevelRecord], objective: str) -> tuple[LevelRecord, ...]:
    """The same levels under another objective. What the server itself broke stays failed.

    Raises:
        UserError: the objective has no condition that a level's figures can answer.
    """
    conditions = parse(objective)
    if not conditions:
        raise UserError(
            f"cannot read the objective {objective!r}; write COLUMN<=NUMBER, such as stable_p95_seconds<=1.5"
        )
    unknown = [c.name for c in conditions if all(figure_of(level, c.name) is None for level in levels)]
    if unknown:
        raise UserError(
            f"no level measured {unknown[0]}, so the objective {objective!r} cannot be judged", Exit.EVIDENCE
        )
    one = next((level for level in levels if level.streams == 1), None)
    return tuple(_rejudged(level, conditions, one) for level in levels)


def _rejudged(level: LevelRecord, conditions: Sequence[Condition], one: LevelRecord | None) -> LevelRecord:
    if level.audit == "invalid":
        return level
    missed = [c for c in conditions if c.met(level, one) is False]
    reason = "; ".join(f"{_NAMES.get(c.name, c.name)} is {figure_of(level, c.name):.3g}" for c in missed)
    return msgspec.structs.replace(level, passed=not missed, reason=reason)


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


_AUDIT = " are short of "
_MISSED = re.compile(r"^(?P<name>[a-z][a-z0-9_]*) (?P<rest>.*)$")


def missed_in_words(reason: str) -> str:
    """What of the objective a level missed, without what its audit found; empty when nothing was."""
    parts = [part.strip() for part in reason.split(";")]
    return "; ".join(_part_in_words(part) for part in parts if part and _AUDIT not in part)


def audit_in_words(reason: str) -> str:
    """What the audit found against a level, without what it missed."""
    return "; ".join(part.strip() for part in reason.split(";") if _AUDIT in part)


def _part_in_words(part: str) -> str:
    match = _MISSED.match(part)
    name = None if match is None else _NAMES.get(f"{match['name']}_seconds", _NAMES.get(f"{match['name']}_ratio"))
    return part if match is None or name is None else f"{name} {match['rest']}"


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
    "errors_ratio": "errors",
    "server_lag_p95_seconds": "lag p95",
    "end_to_final_p95_seconds": "p95 end of speech to final text",
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
