"""What a strategy asks for and what it is answered: one level each."""

from typing import Literal

import msgspec

LevelKind = Literal["plain", "adaptive", "soak"]


class LevelRequest(msgspec.Struct, frozen=True):
    """A level to measure, and what for, in a word or two."""

    streams: int
    purpose: str = ""
    kind: LevelKind = "plain"
    """`plain`: one window. `adaptive`: block after block until its answer is known, as one level. `soak`: block after
    block for a given time, each a level of its own."""
    seconds: float | None = None
    """Of a plain level no longer than this, of a soak in all; None: as the sweep's levels are."""


class LevelAnswer(msgspec.Struct, frozen=True):
    """What one measurement of a level said, measured now or found in the history."""

    streams: int
    passed: bool | None
    """None: it was no evidence."""
    adaptive: bool = False
    """Whether it was held until its answer was known; that outweighs a short level."""
    busy: float | None = None
    """The share of the server that the level took, 0 to 1; None: not known."""
