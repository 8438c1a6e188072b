"""What is simulated: traffic through the day, the machines, who spreads calls over them, and what goes wrong."""

import math
import random
from collections.abc import Sequence
from typing import Literal

import msgspec

from whisper_ops.scaling_rule import HEADROOM

Balancer = Literal["least_loaded", "random", "blind", "pack"]
Lengths = Literal["exponential", "steady", "lognormal"]

HOUR = 3600.0
DAYS: dict[str, tuple[float, ...]] = {
    "flat": (1.0,) * 24,
    "office": (
        0.06, 0.05, 0.04, 0.04, 0.05, 0.08, 0.18, 0.40, 0.72, 0.93, 1.00, 0.97,
        0.82, 0.88, 0.95, 0.92, 0.84, 0.66, 0.46, 0.34, 0.26, 0.19, 0.13, 0.09,
    ),
}  # fmt: skip
"""Shares of the peak hour by hour. `office` is made up after what call centres look like; give your own."""
_SIGMA = 1.0
"""Of lognormal lengths: the longest percent of calls lasts over six times the mean."""


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the traffic with machines of its own."""

    name: str = ""
    share: float = 1.0
    ahead_hours: float = 0.0
    """How much later its clock is than the one that the answer is in."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is asked for. Times are in seconds."""

    peak_streams: float
    """Erlangs in the busiest hour: arrivals a second times the mean length."""
    mean_length_seconds: float
    slots_per_gpu: int
    gpus_per_machine: int = 1
    lengths: Lengths = "exponential"
    day: tuple[float, ...] = DAYS["office"]
    balancer: Balancer = "least_loaded"
    machines: int | None = None
    """A fleet that is never scaled; None: scaled between the two below."""
    min_machines: int = 1
    max_machines: int = 100_000
    headroom: float = HEADROOM
    """Slots beyond those in use, as a share of them, that the scaler keeps ready."""
    scale_every_seconds: float = 60.0
    start_seconds: float = 300.0
    """From asking for a machine until it takes streams: the machine, the image, the model."""
    lose_every_seconds: float | None = None
    """Mean time until one machine is lost; None: none ever is."""
    days: int = 1
    seed: int = 1
    regions: tuple[Region, ...] = (Region(),)

    @property
    def slots_per_machine(self) -> int:
        """Calls that one machine carries."""
        return self.slots_per_gpu * self.gpus_per_machine

    @property
    def is_flat(self) -> bool:
        """Whether every hour is like every other."""
        return len(set(self.day)) == 1


def arrivals_per_second(scenario: Scenario, region: Region, at: float) -> float:
    """The rate at a moment; between the middles of two hours it goes from one to the other in a straight line."""
    hour = (at / HOUR + region.ahead_hours - 0.5) % 24
    before = int(hour) % 24
    share = hour - int(hour)
    of_day = scenario.day[before] * (1 - share) + scenario.day[(before + 1) % 24] * share
    return region.share * of_day * scenario.peak_streams / scenario.mean_length_seconds


def most_arrivals(scenario: Scenario, region: Region) -> float:
    """The highest rate of all day."""
    return region.share * max(scenario.day) * scenario.peak_streams / scenario.mean_length_seconds


def call_length(scenario: Scenario, chance: random.Random) -> float:
    """How long a call lasts, in seconds."""
    mean = scenario.mean_length_seconds
    match scenario.lengths:
        case "steady":
            return mean
        case "lognormal":
            return chance.lognormvariate(math.log(mean) - _SIGMA**2 / 2, _SIGMA)
    return chance.expovariate(1 / mean)


def day_of(numbers: Sequence[float]) -> tuple[float, ...]:
    """Twenty-four numbers as shares of their largest.

    Raises:
        ValueError: they are no day.
    """
    if len(numbers) != 24:
        raise ValueError(f"a day has 24 hours, not {len(numbers)}")
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or not max(numbers):
        raise ValueError("they must be numbers from 0 on, and not all 0")
    return tuple(number / max(numbers) for number in numbers)
