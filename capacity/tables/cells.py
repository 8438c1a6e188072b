"""What one cell says: nothing, a number with or without a unit, or text. Two marks may stand before decimals.

`1,038` is 1038 where a point stands before decimals and 1.038 where a comma does, and `0,1` is only a number there. So
a cell is read once for each mark; which of them holds is for the column and the file to say (`marks`).
"""

import math
import re
from typing import Literal, NamedTuple

from whisper_ops.text_bounds import LINE

Mark = Literal[".", ","]
MARKS: tuple[Mark, Mark] = (".", ",")
_SPACES = " \u00a0\u2009\u202f"
_NOTHING = frozenset({
    "", "-", "–", "—", "--", "---", "?", "na", "n/a", "n.a.", "nan", "-nan", "null", "none", "nil", "undefined",
    "unknown", "not supported", "#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!",
})  # fmt: skip
"""What programs write where they know nothing, in small letters; the words of a spreadsheet's errors among them."""
_BRACKETED = re.compile(r"\[[^\]0-9]*\]")
"""`[N/A]`, `[Not Supported]`, `[GPU is lost]`: nvidia-smi's way."""
_CELL = re.compile(
    rf"(?P<sign>[+-]?)(?P<body>[.,]?[0-9](?:[0-9.,'’_]|[{_SPACES}](?=[0-9]{{3}}(?![0-9])))*)"
    r"(?P<exponent>[eE][+-]?[0-9]{1,3}(?![0-9]))?\s*(?P<unit>[a-zA-Z%µμ°][\w%µμ°/]*)?"
)


class Number(NamedTuple):
    """A cell that may be a number: its value for each mark under which it is one, and its unit as written or ''."""

    values: dict[Mark, float]
    unit: str


def is_nothing(cell: str) -> bool:
    """Whether a cell says that nothing is known."""
    word = cell.strip().lower()
    return word in _NOTHING or (len(word) <= LINE and _BRACKETED.fullmatch(word) is not None)


def number(cell: str) -> Number | None:
    """The cell as a number under each mark; None where it is none under either."""
    if len(cell) > LINE:
        return None
    match = _CELL.fullmatch(cell.strip().replace("−", "-"))
    if match is None:
        return None
    values = {}
    for mark in MARKS:
        plain = _plain(match["body"], mark)
        value = None if plain is None else float(f"{match['sign']}{plain}{match['exponent'] or ''}")
        if value is not None and math.isfinite(value):
            values[mark] = value
    return Number(values, match["unit"] or "") if values else None


def _plain(body: str, mark: Mark) -> str | None:
    """The body as Python writes it; None where `mark` cannot be the one before its decimals."""
    whole, found, decimals = body.partition(mark)
    if found and not decimals.isdigit() and (decimals or not whole):
        return None
    marks = {character for character in whole if not character.isdigit()}
    if len(marks) > 1 or not marks.isdisjoint({mark}):
        return None
    if marks:
        first, *groups = whole.split(next(iter(marks)))
        if not 1 <= len(first) <= 3 or first[0] == "0" or any(len(group) != 3 for group in groups):
            return None
    return f"{re.sub('[^0-9]', '', whole) or '0'}.{decimals or '0'}"
