"""The part of a stored plan's JSON that the dashboard shows. A plan written by another version may lack any of it."""

import msgspec

from dashboard.view import figures as f


class Capacity(msgspec.Struct, frozen=True):
    """The limit as an interval."""

    last_pass: int | None = None
    first_fail: int | None = None
    status: str | None = None


class Resource(msgspec.Struct, frozen=True):
    """One thing that can run out."""

    name: str
    law: str = ""
    unit: str = ""
    """Of its figures: `s`, `%`, `GB` or a word for things that are counted."""
    cap_text: str = ""
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: str = ""
    fix: str | None = None
    curve: tuple[tuple[float, float], ...] = ()
    """(connections a GPU, figure) as the law says."""

    def expected(self, connections: float) -> float | None:
        """What the law expects at a load, between the points of its curve; None beyond them."""
        for (x0, y0), (x1, y1) in zip(self.curve, self.curve[1:], strict=False):
            if x0 <= connections <= x1 and x1 > x0:
                return y0 + (y1 - y0) * (connections - x0) / (x1 - x0)
        return None

    def shown(self, figure: float | None) -> str:
        """A figure of this resource in its unit."""
        if figure is None:
            return f.UNKNOWN
        if self.unit == "s":
            return f.seconds(figure)
        return f"{f.number(figure)} {self.unit}" if self.unit in {"%", "GB"} else f.count(figure)


class Tier(msgspec.Struct, frozen=True):
    """A way to run."""

    name: str
    connections: int
    stability: str = ""


class PlanBody(msgspec.Struct, frozen=True):
    """What a plan said."""

    reason: str = ""
    sure: str = ""
    next_test: str = ""
    runner_up: str | None = None
    capacity: Capacity = Capacity()
    resources: tuple[Resource, ...] = ()
    tiers: tuple[Tier, ...] = ()
    notes: tuple[str, ...] = ()


def read(body: str) -> PlanBody:
    """Read a plan's JSON; an empty one where it cannot be read, since the columns beside it still say the limit."""
    try:
        return msgspec.json.decode(body, type=PlanBody)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return PlanBody()
