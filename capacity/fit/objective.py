"""The objective of a fit: `lag_p95_ms<=500`, a column of the table held against a bound."""

import re

import msgspec

from whisper_ops.errors import UserError

_TEXT = re.compile(
    r"^\s*(?P<column>.+?)\s*(?P<sign><=|>=|≤|≥|<|>)\s*(?P<bound>[+-]?\d+(\.\d*)?([eE][+-]?\d+)?)\s*(?P<unit>[a-zA-Z%]*)\s*$"
)


class Objective(msgspec.Struct, frozen=True):
    """A bound on a column; its value passes on the right side of it."""

    column: str
    at_most: bool
    bound: float
    strict: bool = False

    def met(self, value: float) -> bool:
        """Whether a value passes."""
        if self.at_most:
            return value < self.bound if self.strict else value <= self.bound
        return value > self.bound if self.strict else value >= self.bound

    def __str__(self) -> str:
        sign = {(True, False): "≤", (True, True): "<", (False, False): "≥", (False, True): ">"}
        return f"{self.column} {sign[self.at_most, self.strict]} {self.bound:g}"


def parse(text: str, unit: str | None = None) -> Objective:
    """Read `COLUMN<=NUMBER`, with the unit of the table behind the number or none.

    Raises:
        UserError: it is not of that form, or its unit is another one.
    """
    match = _TEXT.match(text)
    if match is None:
        raise UserError(f"cannot read the objective {text!r}; write COLUMN<=NUMBER, such as lag_p95_ms<=500")
    if match["unit"] and match["unit"] != unit:
        raise UserError(
            f"the objective {text!r} is in {match['unit']} and the table in {unit or 'no stated unit'}; "
            "write the bound in the table's unit, or name it with --unit"
        )
    return Objective(match["column"], match["sign"] in ("<=", "≤", "<"), float(match["bound"]), match["sign"] in "<>")
