"""One region through its days: calls arrive, hold a slot and leave; machines start, drain and are lost."""

import itertools
import random
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

import msgspec
import simpy

from capacity.fleet.simulation.region import Machine, Machines
from capacity.fleet.simulation.scenario import (
    HOUR,
    Region,
    Scenario,
    arrivals_per_second,
    call_length,
    most_arrivals,
)
from whisper_ops.scaling_rule import workers_wanted

_WARM_UP_LENGTHS = 8
"""Mean lengths of a call until a fleet that began empty has forgotten it."""
_SAMPLE_SECONDS = 20.0

Steps = Generator[simpy.Event, Any, None]


class HourFigures(msgspec.Struct):
    """What one hour of one region brought."""

    arrivals: int = 0
    refused: int = 0
    interrupted: int = 0
    """Calls whose machine was lost; their clients came back at once."""
    lost: int = 0
    """Of those, the ones that found no slot then."""
    samples: int = 0
    streams: int = 0
    """Over all samples, as the next two."""
    machines: int = 0
    """Paid for: starting, ready or draining."""
    ready: int = 0
    most_streams: int = 0
    most_machines: int = 0
    loads: dict[int, int] = {}
    """How often a machine held so many calls."""


class RegionRun:
    """One region of a scenario, simulated with SimPy; its `hours` begin when the warm-up ends."""

    def __init__(self, scenario: Scenario, region: Region, seed: int) -> None:
        self._scenario, self._region = scenario, region
        self._chance = random.Random(seed)  # noqa: S311  # a simulation
        self._env = simpy.Environment()
        self._cluster = Machines(scenario.slots_per_machine, scenario.balancer, self._chance)
        self._calls = itertools.count()
        self._warm_up = max(HOUR, _WARM_UP_LENGTHS * scenario.mean_length_seconds, 2 * scenario.start_seconds)
        self._refused_since = 0
        self.hours = [HourFigures() for _ in range(24 * scenario.days)]

    def run(self, on_hour: Callable[[], None] = lambda: None) -> list[HourFigures]:
        """Live through all of it."""
        scenario, env = self._scenario, self._env
        for _ in range(scenario.machines or self._wanted(self._offered(), 0)):
            self._join(self._cluster.add())
        env.process(self._arrive())
        env.process(self._sample())
        if scenario.machines is None:
            env.process(self._scale())
        for hour in range(len(self.hours)):
            env.run(until=self._warm_up + HOUR * (hour + 1))
            on_hour()
        return self.hours

    # --- calls --------------------------------------------------------------------------------------

    def _now(self) -> float:
        """Seconds since the first hour that counts began; below 0 while warming up."""
        return float(self._env.now) - self._warm_up

    def _hour(self) -> HourFigures | None:
        at = self._now()
        return self.hours[int(at // HOUR)] if 0 <= at < HOUR * len(self.hours) else None

    def _offered(self) -> float:
        return arrivals_per_second(self._scenario, self._region, self._now()) * self._scenario.mean_length_seconds

    def _arrive(self) -> Steps:
        most = most_arrivals(self._scenario, self._region)
        while True:
            yield self._env.timeout(self._chance.expovariate(most))
            if self._chance.random() * most >= arrivals_per_second(self._scenario, self._region, self._now()):
                continue  # thinned: the rate of this moment is below the day's highest
            hour = self._hour()
            taken = self._take(call_length(self._scenario, self._chance))
            if hour is not None:
                hour.arrivals += 1
                hour.refused += not taken

    def _take(self, seconds: float) -> bool:
        machine = self._cluster.place()
        if machine is None:
            self._refused_since += 1
            return False
        call = next(self._calls)
        self._cluster.begin(machine, call, self._env.now + seconds)
        self._when(seconds, partial(self._cluster.end, machine, call))
        return True

    def _when(self, seconds: float, what: Callable[[], None]) -> None:
        event = self._env.timeout(seconds)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: what())

    # --- machines -----------------------------------------------------------------------------------

    def _join(self, machine: Machine) -> None:
        """A machine takes calls from now on, until it is lost."""
        if machine.number not in self._cluster.machines:
            return
        self._cluster.take_calls(machine)
        if self._scenario.lose_every_seconds is not None:
            self._when(self._chance.expovariate(1 / self._scenario.lose_every_seconds), partial(self._lose, machine))

    def _lose(self, machine: Machine) -> None:
        if machine.number not in self._cluster.machines:
            return
        ends, hour = self._cluster.lose(machine), self._hour()
        again = [self._take(max(end - self._env.now, 0.0)) for end in ends]
        if hour is not None:
            hour.interrupted += len(again)
            hour.lost += again.count(False)
        if self._scenario.machines is not None:
            self._start()  # a fleet that is not scaled gets its machine back

    def _start(self) -> None:
        self._when(self._scenario.start_seconds, partial(self._join, self._cluster.add()))

    def _wanted(self, active: float, refused: float) -> int:
        scenario = self._scenario
        wanted = workers_wanted(active, refused, scenario.slots_per_machine, scenario.headroom)
        return min(max(wanted, scenario.min_machines), scenario.max_machines)

    def _scale(self) -> Steps:
        """As the autoscaler does: what is live, what was refused, and the headroom; and never below what is live."""
        while True:
            yield self._env.timeout(self._scenario.scale_every_seconds)
            wanted = self._wanted(self._cluster.streams, self._refused_since)
            self._refused_since = 0
            while self._cluster.coming < wanted:
                if not self._cluster.undrain():
                    self._start()
            while self._cluster.coming > wanted and self._cluster.drain():
                pass

    def _sample(self) -> Steps:
        while True:
            yield self._env.timeout(_SAMPLE_SECONDS)
            if (hour := self._hour()) is None:
                continue
            cluster = self._cluster
            hour.samples += 1
            hour.streams += cluster.streams
            hour.machines += len(cluster.machines)
            hour.ready += len(cluster.ready)
            hour.most_streams = max(hour.most_streams, cluster.streams)
            hour.most_machines = max(hour.most_machines, len(cluster.machines))
            for machine in cluster.ready:
                hour.loads[len(machine.calls)] = hour.loads.get(len(machine.calls), 0) + 1


def simulate(scenario: Scenario, on_hour: Callable[[], None] = lambda: None) -> list[list[HourFigures]]:
    """The hours of each region, on the clock of the answer."""
    numbers: Iterable[int] = range(len(scenario.regions))
    return [
        RegionRun(scenario, region, scenario.seed * 1000 + number).run(on_hour)
        for number, region in zip(numbers, scenario.regions, strict=True)
    ]
