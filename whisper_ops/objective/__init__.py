"""What a level of load must meet: one grammar, one evaluator, one default, for every command that speaks of it."""

from whisper_ops.objective.grammar import (
    DEFAULT,
    MEASURES,
    Objective,
    ObjectiveTerm,
    condition,
    parse,
    read_stored,
    readable,
)

__all__ = ["DEFAULT", "MEASURES", "Objective", "ObjectiveTerm", "condition", "parse", "read_stored", "readable"]
