"""A simulated streaming server on a virtual clock: what a level of load would show, with no time passing.

The device is the product's own simulated engine (`T(B) = a + b·B`) with a virtual clock's sleep; around it stands the
scheduling that streaming servers have: each stream asks for a decode every interval, what is due goes into one batch,
oldest first. Phases, service times and hiccups are random, so that short levels differ as real ones do.
"""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from capacity.loadtest.level_request import LevelAnswer
from capacity.loadtest.search import Search
from capacity.loadtest.stopping import AnswerKnown
from server.engines.engine import EngineRow
from server.engines.simulated import SimulatedEngine
from server.settings import SimulatedLaw
from whisper_ops.objective import parse

LIMIT_SECONDS = 2.0
OBJECTIVE = parse(f"stable_p95<={LIMIT_SECONDS}s")
_TRUTH_SECONDS = 600.0


@dataclass(frozen=True)
class Law:
    """One server."""

    a: float
    b: float
    max_batch: int
    interval: float = 0.5
    jitter: float = 0.1
    """Standard deviation of the service time, as a share."""
    hiccup_every: float = 0.0
    """Mean seconds between pauses of `hiccup_seconds`, as garbage collection or another tenant makes them."""
    hiccup_seconds: float = 0.0
    speaking: float = 1.0
    """Share of streams with something to decode in an interval."""
    stretches: bool = False
    """Whether a late stream skips decodes, so that the cadence stretches, or queues every one of them."""


class VirtualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def latencies(law: Law, streams: int, seconds: float, seed: int) -> Iterator[list[float]]:
    """The word latencies of blocks of `seconds` each, in seconds, after a warm-up; as many blocks as one takes."""
    chance = random.Random(f"{law} {streams} {seed}")
    clock = VirtualClock()
    engine = SimulatedEngine(SimulatedLaw(a_seconds=law.a, b_seconds=law.b), clock.sleep)
    row = EngineRow(audio=np.zeros(0, dtype=np.float32), context_s=8.0)
    # When a stream is due, which one it is, and when its window before ended.
    due = [(at, k, at - law.interval) for k in range(streams) for at in [chance.uniform(0, law.interval)]]
    heapq.heapify(due)
    next_hiccup = chance.expovariate(1 / law.hiccup_every) if law.hiccup_every else float("inf")
    found: list[float] = []
    warm_up = 5.0
    until_block = warm_up + seconds
    while True:
        clock.now = max(clock.now, due[0][0])
        batch: list[tuple[float, float]] = []
        again: list[tuple[float, int, float]] = []
        while due and due[0][0] <= clock.now and len(batch) < law.max_batch:
            at, stream, covered = heapq.heappop(due)
            # What is due hears all there is by now when the cadence stretches, else only its own interval.
            until = max(at, clock.now) if law.stretches else at
            if chance.random() < law.speaking:
                batch.append((covered, until))
            again.append((until + law.interval, stream, until))
        for item in again:
            heapq.heappush(due, item)
        if batch:
            before = clock.now
            engine.decode([row] * len(batch))
            clock.now = before + (clock.now - before) * max(0.2, chance.gauss(1.0, law.jitter))
            if clock.now >= next_hiccup:
                clock.now += law.hiccup_seconds
                next_hiccup = clock.now + chance.expovariate(1 / law.hiccup_every)
            # A word ends anywhere in the window that its decode is the first to hear.
            found.extend(clock.now - chance.uniform(*window) for window in batch if window[1] >= warm_up)
        while clock.now >= until_block:
            yield found
            found = []
            until_block += seconds


def p95(*blocks: list[float]) -> float | None:
    """Of all words together; None where there is none."""
    words = [word for block in blocks for word in block]
    return float(np.quantile(words, 0.95)) if words else None


def p95_latency(law: Law, streams: int, seconds: float, seed: int) -> float:
    """The p95 word latency of one level of `seconds`; infinite when nothing was decoded in the time."""
    said = p95(next(latencies(law, streams, seconds, seed)))
    return math.inf if said is None else said


def held_p95(law: Law, streams: int, seconds: float, seed: int) -> float:
    """The same of a level that is held, in blocks of `seconds`, until its answer is known."""
    rule, blocks = AnswerKnown(OBJECTIVE, {}), []
    for block in latencies(law, streams, seconds, seed):
        blocks.append(block)
        if rule.on_measures({"stable_p95": p95(block)}, {"stable_p95": p95(*blocks)}) is not None:
            break
    said = p95(*blocks)
    return math.inf if said is None else said


def draw(seed: int) -> Law:
    """A law from the stated distribution, over two decades of speed, three in ten with hiccups."""
    chance = random.Random(seed)

    def spread(low: float, high: float) -> float:
        return float(low * (high / low) ** chance.random())  # even on a log scale

    hiccups = chance.random() < 0.3
    return Law(
        a=round(spread(0.01, 0.2), 4),
        b=round(spread(0.001, 0.03), 4),
        max_batch=chance.choice([4, 8, 16, 32]),
        interval=chance.choice([0.25, 0.5, 1.0]),
        jitter=round(chance.uniform(0.05, 0.4), 2),
        hiccup_every=round(spread(10, 60), 1) if hiccups else 0.0,
        hiccup_seconds=round(chance.uniform(0.2, 1.0), 2) if hiccups else 0.0,
        speaking=round(chance.uniform(0.3, 1.0), 2),
        stretches=chance.random() < 0.4,
    )


class Found(NamedTuple):
    """What a search found, and what ten minutes at each edge say."""

    search: Search
    low_p95: float
    high_p95: float

    @property
    def holds(self) -> bool:
        """Whether the bracket is tight and contains the truth: its low edge holds in the long run, its high one not."""
        return self.search.resolved and self.low_p95 <= LIMIT_SECONDS < self.high_p95


def found(law: Law, seed: int, seconds: float = 60.0) -> Found:
    """Search a server of this law, and look up the truth."""
    search = Search()
    while (ask := search.next()) is not None:
        adaptive = ask.kind == "adaptive"
        measure = held_p95 if adaptive else p95_latency
        latency = measure(law, ask.streams, seconds, seed * 1000 + search.measured)
        search = search.with_answer(LevelAnswer(ask.streams, latency <= LIMIT_SECONDS, adaptive))
    low, high = search.best_passing, search.lowest_failing
    return Found(
        search,
        p95_latency(law, low, _TRUTH_SECONDS, 1000 + seed) if low else float("inf"),
        p95_latency(law, high, _TRUTH_SECONDS, 1001 + seed) if high else 0.0,
    )
