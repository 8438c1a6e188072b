"""When the streams of a level connect. Bursts overstate and synchronise; people come spread out."""

import random
from typing import Literal

Arrivals = Literal["spread", "burst", "poisson"]

_GAP_SECONDS = 0.25
_LONGEST_RAMP_SECONDS = 10.0
LEAD_SECONDS = 0.3
"""From the order to the first connection: the order must have reached every process."""
SETTLE_SECONDS = 1.0
"""Between the last arrival and the measured window."""
_LAST_TEXT_SECONDS = 1.0


def ramp_seconds(streams: int, seconds: float, arrivals: str) -> float:
    """How long it takes until the last of the streams has connected."""
    if arrivals == "burst":
        return 0.0
    return min(_LONGEST_RAMP_SECONDS, seconds / 6, _GAP_SECONDS * (streams - 1))


def level_seconds(streams: int, seconds: float, arrivals: str = "spread", settle: float = SETTLE_SECONDS) -> float:
    """How long a level takes whose streams are all live for `seconds`, about, without a slow drain."""
    return LEAD_SECONDS + 2 * ramp_seconds(streams, seconds, arrivals) + settle + seconds + _LAST_TEXT_SECONDS


def offsets(streams: int, ramp: float, arrivals: str, seed: int) -> list[float]:
    """Seconds from the level's start at which each stream connects, all within `ramp`.

    `spread` is even; `poisson` is what independent people do: given how many come in a time, each comes at any moment
    of it alike.
    """
    if arrivals == "burst" or streams == 1:
        return [0.0] * streams
    if arrivals == "poisson":
        chance = random.Random(seed)  # noqa: S311  # a repeatable load, no secret
        return sorted(chance.uniform(0, ramp) for _ in range(streams))
    return [ramp * k / (streams - 1) for k in range(streams)]
