"""A line of a benchmark: what was measured, and the promise it is held against."""

from typing import NamedTuple


class Figure(NamedTuple):
    """One line of the answer; `limit` None: shown only."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        promise = "" if self.limit is None else f"   {'≥' if self.at_least else '≤'} {self.limit:,g}"
        verdict = "" if self.limit is None else ("  ok" if self.kept else "  BROKEN")
        return f"  {self.what:<74} {self.value:>12,.4g} {self.unit:<10}{promise}{verdict}"
