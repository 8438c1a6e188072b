"""What a level of load must meet: one grammar, one evaluator, one default, for every command that speaks of it."""

from whisper_ops.objective.grammar import (
    DEFAULT,
    DEFAULT_LAG_SECONDS,
    MEASURES,
    Objective,
    ObjectiveTerm,
    condition,
    parse,
    read_stored,
    readable,
)

__all__ = [
    "DEFAULT", "DEFAULT_LAG_SECONDS", "MEASURES", "Objective", "ObjectiveTerm", "condition", "parse", "read_stored",
    "readable",
]  # fmt: skip
