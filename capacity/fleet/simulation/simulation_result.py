"""What a simulation says: by hour of the day, and in all, with an interval where there is enough to have one."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

import msgspec

from capacity.fleet.prices import Price
from capacity.fleet.simulation.scenario import Scenario
from capacity.fleet.simulation.simulator import HourFigures
from whisper_ops.student_t import quantile

Latency = Callable[[float], float | None]
"""The expected p95 latency at so many connections a GPU, in seconds."""


class HourOfDay(msgspec.Struct, frozen=True, kw_only=True):
    """One hour of the day, over all days and regions."""

    hour: int
    arrivals_per_hour: float
    streams_mean: float
    streams_most: int
    gpus_mean: float
    """Paid for, of machines that start and drain too."""
    gpus_most: int
    blocking: float | None
    """Share of calls refused; None: none came."""
    interrupted: int
    lost: int
    connections_per_gpu_p95: float | None
    """Of machines that take calls: the load that 95 % of them are below, as an even share of each of its GPUs."""
    latency_p95_seconds: float | None
    """Expected at that load, from the plan; None: no plan, or its levels do not reach there."""
    price: float | None
    """Of this hour of one day."""


class SimulationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls of all simulated days, and what the fleet took."""

    hours: tuple[HourOfDay, ...]
    calls: int
    refused: int
    interrupted: int
    lost: int
    blocking: float | None
    blocking_low: float | None
    """Ends of the 95 % interval; None: there are too few days to have one."""
    blocking_high: float | None
    gpu_hours_per_day: float
    gpus_most: int
    streams_most: int
    utilization: float | None
    """Share of the slots that were paid for which held a stream."""
    price_per_day: float | None
    price_per_stream_hour: float | None
    currency: str | None


def answer(
    scenario: Scenario,
    regions: Sequence[Sequence[HourFigures]],
    price: Price | None = None,
    latency: Latency | None = None,
) -> SimulationResult:
    """Put the regions' hours together."""
    moments = [[hours[number] for hours in regions] for number in range(24 * scenario.days)]
    by_hour = [[moment for number, moment in enumerate(moments) if number % 24 == hour] for hour in range(24)]
    hours = tuple(_hour(scenario, hour, days, price, latency) for hour, days in enumerate(by_hour))
    every = [part for moment in moments for part in moment]
    calls, refused = sum(one.arrivals for one in every), sum(one.refused for one in every)
    low, high = _interval(scenario, moments)
    gpu_hours = sum(hour.gpus_mean for hour in hours)
    stream_hours = sum(hour.streams_mean for hour in hours)
    day = None if price is None else price.per_gpu_hour * gpu_hours
    return SimulationResult(
        hours=hours,
        calls=calls,
        refused=refused,
        interrupted=sum(one.interrupted for one in every),
        lost=sum(one.lost for one in every),
        blocking=refused / calls if calls else None,
        blocking_low=low,
        blocking_high=high,
        gpu_hours_per_day=gpu_hours,
        gpus_most=max(hour.gpus_most for hour in hours),
        streams_most=max(hour.streams_most for hour in hours),
        utilization=stream_hours / (gpu_hours * scenario.slots_per_gpu) if gpu_hours else None,
        price_per_day=day,
        price_per_stream_hour=day / stream_hours if day is not None and stream_hours else None,
        currency=None if price is None else price.currency,
    )


def _hour(
    scenario: Scenario, hour: int, days: Sequence[Sequence[HourFigures]], price: Price | None, latency: Latency | None
) -> HourOfDay:
    each = scenario.gpus_per_machine
    parts = [part for day in days for part in day]
    calls = sum(part.arrivals for part in parts)
    gpus = each * fmean(sum(part.machines / max(part.samples, 1) for part in day) for day in days)
    load = _load_p95(parts)
    per_gpu = None if load is None else load / each
    return HourOfDay(
        hour=hour,
        arrivals_per_hour=calls / len(days),
        streams_mean=fmean(sum(part.streams / max(part.samples, 1) for part in day) for day in days),
        streams_most=max(sum(part.most_streams for part in day) for day in days),
        gpus_mean=gpus,
        gpus_most=each * max(sum(part.most_machines for part in day) for day in days),
        blocking=sum(part.refused for part in parts) / calls if calls else None,
        interrupted=sum(part.interrupted for part in parts),
        lost=sum(part.lost for part in parts),
        connections_per_gpu_p95=per_gpu,
        latency_p95_seconds=None if latency is None or per_gpu is None else latency(per_gpu),
        price=None if price is None else price.per_gpu_hour * gpus,
    )


def _load_p95(parts: Sequence[HourFigures]) -> float | None:
    loads: Counter[int] = Counter()
    for part in parts:
        loads.update(part.loads)
    total, seen = sum(loads.values()), 0
    for load in sorted(loads):
        seen += loads[load]
        if seen >= 0.95 * total:
            return float(load)
    return None


def _interval(scenario: Scenario, moments: Sequence[Sequence[HourFigures]]) -> tuple[float | None, float | None]:
    """Student's, over parts that are alike: hours where all are, else days. Refusals come in bunches: no calls."""
    size = 1 if scenario.is_flat else 24
    batches = []
    for begin in range(0, len(moments), size):
        parts = [part for moment in moments[begin : begin + size] for part in moment]
        batches.append((sum(part.arrivals for part in parts), sum(part.refused for part in parts)))
    calls, refused = (sum(column) for column in zip(*batches, strict=True))
    if len(batches) < 3 or not calls:
        return None, None
    # Of a ratio: a batch with more calls refuses more of them, so that the mean of shares would be too low.
    share, count = refused / calls, len(batches)
    spread = math.sqrt(sum((part - share * of) ** 2 for of, part in batches) / (count - 1) / count) / (calls / count)
    half = quantile(count - 1, 0.975) * spread
    return max(0.0, share - half), min(1.0, share + half)
