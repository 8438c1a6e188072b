"""At which load a law meets an objective: its middle, and both ends of its interval."""

import numpy as np

from capacity.models.law import Array, Law
from whisper_ops.objective.grammar import ObjectiveTerm

_FAR = 30.0
"""How many times the last load a limit is looked for."""
_STEPS = 240


def crossings(
    law: Law, first: float, last: float, objective: ObjectiveTerm
) -> tuple[float | None, float | None, float | None]:
    """The loads at which the law's high, middle and low curves leave the objective; None where one never does."""
    grid = np.geomspace(max(first, last / 1e4) if last > 0 else 1.0, max(last, 1.0) * _FAR, _STEPS)
    band = law.band(grid.tolist(), noise=False)
    columns = (2, 1, 0) if objective.at_most else (0, 1, 2)
    low, middle, high = (_leaves(grid, band[:, column], objective) for column in columns)
    return low, middle, high


def _leaves(grid: Array, curve: Array, objective: ObjectiveTerm) -> float | None:
    if not objective.at_most:  # held from the first load that reaches it
        held = np.flatnonzero(curve >= objective.limit)
        grid, curve = grid[held[0] if held.size else 0 :], curve[held[0] if held.size else 0 :]
    over = np.flatnonzero(curve > objective.limit if objective.at_most else curve < objective.limit)
    if not over.size:
        return None
    at = int(over[0])
    if at == 0:
        return float(grid[0])
    share = (objective.limit - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(grid[at - 1] + share * (grid[at] - grid[at - 1]))
