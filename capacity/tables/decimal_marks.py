"""Which mark stands before the decimals of a column: told by its cells, else by the rest of the file, else asked."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from capacity.tables.cells import MARKS, Mark, Number, is_nothing, number
from whisper_ops.errors import UserError

Numbered = tuple[int, str, Number]
"""A line of the file, its cell, and the number it may be."""


def told(cells: Iterable[str]) -> Mark | None:
    """The mark that a column of numbers allows alone; None where it allows both, or holds text."""
    left = set(MARKS)
    for cell in cells:
        if cell.isdigit() or is_nothing(cell):
            continue
        found = number(cell)
        if found is None:
            return None
        left &= set(found.values)
        if len(left) < 2:
            break
    return left.pop() if len(left) == 1 else None


def decide(
    path: Path, column: str, cells: Sequence[Numbered], elsewhere: Callable[[], set[Mark]], delimiter: str
) -> Mark:
    """The mark of a column.

    Args:
        path: the file, for the sentence of a refusal.
        column: its name, for the same.
        cells: its cells that are numbers under one mark at least.
        elsewhere: finds the marks that other cells of the file allow alone.
        delimiter: what parts the cells of the file.

    Raises:
        UserError: cells contradict each other, or may be read either way and nothing in the file tells.
    """
    left = [mark for mark in MARKS if all(mark in found.values for _, _, found in cells)]
    if not left:
        line, cell = next((line, cell) for line, cell, found in cells if "." not in found.values)
        other, against = next((line, cell) for line, cell, found in cells if "," not in found.values)
        raise UserError(
            f"{path}: column {column!r} holds {cell!r} in line {line}, which has a decimal comma, and {against!r} in "
            f"line {other}, which has a decimal point; write all of it one way"
        )
    either = next(((line, cell, found) for line, cell, found in cells if len(set(found.values.values())) > 1), None)
    if len(left) == 1 or either is None:
        return left[0]
    if len(others := elsewhere()) == 1:
        return others.pop()
    line, cell, found = either
    # Where a comma parts cells it parts no decimals; a program that writes tabs and points means decimals.
    if delimiter == "," or (delimiter == "\t" and "," not in "".join(cell for _, cell, _ in cells)):
        return "."
    grouped, fraction = max(found.values.values()), min(found.values.values())
    raise UserError(
        f"{path}, line {line}: {column} is {cell.strip()!r}, which may be {grouped:g} or {fraction:g}, and no other "
        "cell tells; say which mark stands before decimals with --decimal point or --decimal comma"
    )
