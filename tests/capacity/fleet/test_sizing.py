"""Fleets: Erlang's formula against an independent simulation, machines that may be lost, prices, and trends."""

import random
from collections.abc import Generator
from pathlib import Path

import pytest
import simpy

from capacity.fleet.erlang import blocking, slots_for
from capacity.fleet.growth import trend
from capacity.fleet.prices import Price, read_price
from capacity.fleet.sizing import Demand, size
from whisper_ops.errors import UserError
from whisper_ops.history import History
from whisper_ops.history.poll_aggregates import daily_peaks
from whisper_ops.snapshot import ServerFigures, Snapshot
from whisper_ops.units import length, rate, share


class Simulated:
    """Calls arrive at random, find a slot or are refused, and stay for a random time."""

    def __init__(self, per_second: float, mean_seconds: float, slots: int, *, steady: bool, seed: int) -> None:
        self.env = simpy.Environment()
        self.random = random.Random(seed)
        self.slots = simpy.Resource(self.env, slots)
        self.per_second, self.mean, self.steady = per_second, mean_seconds, steady
        self.arrived = self.refused = 0
        self.env.process(self.arrivals())

    def arrivals(self) -> Generator[simpy.Event, None, None]:
        while True:
            yield self.env.timeout(self.random.expovariate(self.per_second))
            self.arrived += 1
            if self.slots.count >= self.slots.capacity:
                self.refused += 1
            else:
                self.env.process(self.call(self.slots.request()))

    def call(self, slot: simpy.resources.resource.Request) -> Generator[simpy.Event, None, None]:
        yield slot
        yield self.env.timeout(self.mean if self.steady else self.random.expovariate(1 / self.mean))
        self.slots.release(slot)

    def share_refused(self, calls: int) -> float:
        self.env.run(until=calls / self.per_second)
        return self.refused / self.arrived


@pytest.mark.parametrize("steady", [True, False])  # only the mean length matters
@pytest.mark.parametrize(("offered", "slots"), [(8.0, 10), (20.0, 22), (3.0, 2)])
def test_blocking_is_what_a_discrete_event_simulation_finds(offered: float, slots: int, steady: bool) -> None:
    found = Simulated(offered / 60, 60.0, slots, steady=steady, seed=slots).share_refused(30_000)
    assert blocking(offered, slots) == pytest.approx(found, abs=0.012)


def test_published_values_of_erlang_b() -> None:
    assert blocking(10, 10) == pytest.approx(0.2146, abs=1e-4)
    assert blocking(100, 117) == pytest.approx(0.0098, abs=5e-4)  # tables: 100 erlangs need 117 lines for 1 %
    assert slots_for(100, 0.01) == 117
    assert slots_for(0.0, 0.01) == 1


def test_five_hundred_calls_with_one_machine_lost() -> None:
    fleet = size(Demand(target=500, survive=1, gpus_per_machine=2), per_gpu=72)
    assert (fleet.gpus, fleet.machines, fleet.slots_after_loss) == (10, 5, 576)


def test_traffic_is_sized_for_its_blocking_also_after_a_loss() -> None:
    demand = Demand(arrivals_per_second=40 / 60, mean_length_seconds=360, most_blocking=0.001, survive=1)
    fleet = size(demand, per_gpu=30)
    assert fleet.offered == pytest.approx(240)
    assert fleet.blocking_after_loss is not None
    assert fleet.blocking is not None
    assert fleet.blocking < fleet.blocking_after_loss <= 0.001
    smaller = (fleet.machines - demand.survive - 1) * 30
    assert blocking(240, smaller) > 0.001  # one machine fewer would not do


def test_prices_give_the_cost_of_an_audio_hour(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'currency = "EUR"\n[H100]\nper_machine_hour = 24.0\ngpus_per_machine = 8\n[L4]\nper_gpu_hour = 0.8\n'
    )
    price = read_price(file, "NVIDIA H100 80GB HBM3")
    assert price == Price(per_gpu_hour=3.0, currency="EUR", gpus_per_machine=8)
    fleet = size(Demand(target=500), per_gpu=72, price=price)
    assert (fleet.gpus, fleet.machines, fleet.price_per_hour) == (8, 1, 24.0)
    assert fleet.price_per_audio_hour == pytest.approx(24 / 500)
    with pytest.raises(UserError, match="no price for A100"):
        read_price(file, "A100")
    file.write_text("per_gpu_hour = -2")
    with pytest.raises(UserError, match="per_gpu_hour is -2"):
        read_price(file, "A100")


def test_rates_lengths_and_shares_are_read_as_people_type_them() -> None:
    assert rate("40/min", "--x") == pytest.approx(2 / 3)
    assert rate("2 per hour", "--x") == pytest.approx(2 / 3600)
    assert length("6min", "--x") == 360
    assert length("90", "--x") == 90
    assert share("0.1%", "--x") == pytest.approx(0.001)
    for reader, bad in (
        (rate, "40"),
        (rate, "4/fortnight"),
        (length, "long"),
        (length, "0s"),
        (share, "2"),
        (share, "x"),
    ):
        with pytest.raises(UserError, match="--x takes a"):
            reader(bad, "--x")


def test_a_fleet_for_nothing_or_of_nothing_is_a_sentence() -> None:
    with pytest.raises(UserError, match="--target CALLS"):
        size(Demand(), per_gpu=4)
    with pytest.raises(UserError, match="not one connection fits"):
        size(Demand(target=5), per_gpu=0)


def test_a_growing_service_says_when_it_is_full() -> None:
    peaks = [(float(day), 100 + 4.0 * day + (-1) ** day) for day in range(14)]
    found = trend(peaks, 200)
    assert found is not None
    assert found.until == pytest.approx((200 - 152) / 4, abs=1)
    assert found.low is not None
    assert found.high is not None
    assert found.until is not None
    assert found.low < found.until < found.high
    flat = trend([(float(day), 100.0 + (-1) ** day) for day in range(14)], 200)
    assert flat is not None
    assert flat.until is None or flat.high is None
    assert trend(peaks[:3], 200) is None


def test_daily_peaks_come_from_polls(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(
            Snapshot(
                server="a:1", at=86400.0 * day + hour * 3600, figures=ServerFigures(streams_active=10 * day + hour)
            )
            for day in range(5)
            for hour in (1, 9)
        )
        assert daily_peaks(history, "http://a:1") == {float(day): 10.0 * day + 9 for day in range(5)}
