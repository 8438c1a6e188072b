"""What a cluster's scaler decides: single cases, and made-up workers whose streams come and go in virtual time."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.cluster.scaling import Scaler, ScalingBounds, ScalingSteps, WorkerState
from whisper_ops.scaling_rule import workers_wanted

SLOTS = 10
NOTHING = ScalingSteps()


def live(name: str, streams: int) -> WorkerState:
    return WorkerState(name, "live", streams, SLOTS)


def scaler(least: int = 1, most: int = 8, hold: float = 60.0, headroom: float = 0.1) -> Scaler:
    return Scaler(ScalingBounds(least, most, SLOTS, headroom, hold))


@pytest.mark.parametrize(
    ("active", "refused", "headroom", "wanted"),
    [
        (0, 0, 0.1, 0), (1, 0, 0.1, 1), (9, 0, 0.1, 1), (10, 0, 0.1, 2), (100, 0, 0.1, 11), (100, 0, 0.0, 10),
        (10, 1, 0.0, 2), (0, 25, 0.0, 3), (20, 0, 1.0, 4),
    ],
)  # fmt: skip
def test_the_number_is_what_is_live_and_was_refused_and_the_headroom(
    active: int, refused: int, headroom: float, wanted: int
) -> None:
    assert workers_wanted(active, refused, SLOTS, headroom) == wanted


def test_a_fleet_grows_at_once_by_what_was_refused_and_never_over_its_most() -> None:
    one = scaler(most=4)
    assert one.decide([live("a", 10)], 0, 0).add == 1
    assert one.decide([live("a", 10), WorkerState("b", "coming")], 0, 5) == NOTHING, "what comes counts"
    assert one.decide([live("a", 10), WorkerState("b", "coming")], 9, 10).add == 1
    assert one.decide([live("a", 10), WorkerState("b", "coming")], 1000, 15).add == 2


def test_it_shrinks_after_a_while_by_the_emptiest_which_leaves_when_its_streams_have_ended() -> None:
    one = scaler(hold=60)
    busy = [live("a", 7), live("b", 6), live("c", 8)]
    assert one.decide(busy, 0, 0) == NOTHING
    calm = [live("a", 4), live("b", 2), live("c", 3)]
    assert one.decide(calm, 0, 30) == NOTHING, "a lull"
    assert one.decide(calm, 0, 91) == ScalingSteps(drain=("b", "c"))
    draining = [live("a", 4), WorkerState("b", "draining", 2, SLOTS), WorkerState("c", "draining", 0, SLOTS)]
    assert one.decide(draining, 0, 96) == ScalingSteps(remove=("c",))
    assert one.decide([live("a", 4), WorkerState("b", "draining", 2, SLOTS)], 0, 100) == NOTHING


def test_who_is_needed_again_comes_back_before_anybody_new_is_started() -> None:
    one = scaler(hold=0)
    one.decide([live("a", 5), live("b", 1), live("c", 1)], 0, 0)
    draining = [live("a", 9), WorkerState("b", "draining", 3, SLOTS), WorkerState("c", "draining", 0, SLOTS)]
    assert one.decide(draining, 0, 5) == ScalingSteps(recall=("b",), remove=("c",))
    one = scaler(hold=0)
    one.decide([live("a", 5), live("b", 1), live("c", 1)], 0, 0)
    assert one.decide(draining, 20, 5) == ScalingSteps(add=1, recall=("b", "c"))


def test_what_an_operator_drains_is_not_called_back_but_replaced() -> None:
    one = scaler(least=2, most=2)
    assert one.decide([live("a", 5), WorkerState("b", "draining", 3, SLOTS)], 0, 0) == ScalingSteps(add=1)
    workers = [live("a", 5), WorkerState("b", "draining", 0, SLOTS), WorkerState("c", "coming")]
    assert one.decide(workers, 0, 5) == ScalingSteps(remove=("b",))


def test_while_somebody_does_not_say_what_it_carries_nothing_shrinks() -> None:
    one = scaler(hold=0)
    workers = [live("a", 0), live("b", 0), WorkerState("c", "silent", None, SLOTS)]
    assert [one.decide(workers, 0, at) for at in range(0, 1000, 5)] == [NOTHING] * 200


def test_those_that_serve_nobody_yet_are_given_up_first_and_need_no_drain() -> None:
    one = scaler(hold=0)
    assert one.decide([live("a", 0), WorkerState("b", "coming"), live("c", 1)], 0, 0) == ScalingSteps(
        drain=("a",), remove=("b",)
    )


class Fleet:
    """Workers that start after a while; what is refused comes again, and what drains keeps its streams."""

    def __init__(self, bounds: ScalingBounds) -> None:
        self.scaler, self.bounds, self.at = Scaler(bounds), bounds, 0.0
        self.streams: dict[str, int] = {}
        self.ready_at: dict[str, float] = {}
        self.draining: set[str] = set()
        self.steps = 0
        for _ in range(bounds.least):
            self._add()

    def _add(self) -> None:
        name = f"w{len(self.ready_at)}"
        self.streams[name], self.ready_at[name] = 0, self.at + 30

    def _takes(self) -> list[str]:
        return [name for name in self.streams if self.ready_at[name] <= self.at and name not in self.draining]

    def seen(self) -> Sequence[WorkerState]:
        def one(name: str) -> WorkerState:
            if name in self.draining:
                return WorkerState(name, "draining", self.streams[name], SLOTS)
            if self.ready_at[name] > self.at:
                return WorkerState(name, "coming")
            return live(name, self.streams[name])

        return [one(name) for name in self.streams]

    def look(self, load: int) -> None:
        """One look, at so many streams that want to be live."""
        self.at += 5
        while sum(self.streams.values()) > load:
            self.streams[max(self.streams, key=lambda name: self.streams[name])] -= 1
        refused = 0
        for _ in range(load - sum(self.streams.values())):
            room = [name for name in self._takes() if self.streams[name] < SLOTS]
            if room:
                self.streams[min(room, key=lambda name: self.streams[name])] += 1
            else:
                refused += 1
        steps = self.scaler.decide(self.seen(), refused, self.at)
        self.steps += steps != NOTHING
        self._take(steps)

    def _take(self, steps: ScalingSteps) -> None:
        for name in steps.remove:
            assert self.streams.pop(name) == 0, "a worker was taken away under its streams"
            self.draining.discard(name)
        emptiest = sorted(self.streams[name] for name in self._takes())
        assert sorted(self.streams[name] for name in steps.drain) == emptiest[: len(steps.drain)]
        self.draining |= set(steps.drain)
        assert set(steps.recall) <= self.draining
        self.draining -= set(steps.recall)
        for _ in range(steps.add):
            self._add()
        working = [name for name in self.streams if name not in self.draining]
        assert self.bounds.least <= len(working) <= self.bounds.most
        if steps.drain:
            assert len(working) * SLOTS >= sum(self.streams.values()), "below what is live"


@settings(max_examples=40, deadline=None)
@given(
    loads=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), min_size=1, max_size=6),
    least=st.integers(1, 3),
    hold=st.sampled_from([0.0, 20.0, 60.0]),
)
def test_whatever_the_load_does_no_stream_is_cut_and_it_settles_where_it_is_wanted(
    loads: list[tuple[int, int]], least: int, hold: float
) -> None:
    fleet = Fleet(ScalingBounds(least, 12, SLOTS, 0.1, hold))
    for load, looks in loads:
        for _ in range(looks):
            fleet.look(load)
    last = loads[-1][0]
    for _ in range(60):
        fleet.look(last)
    settled = fleet.steps
    for _ in range(20):
        fleet.look(last)
    assert fleet.steps == settled, "it does not come to rest"
    working = [name for name in fleet.streams if name not in fleet.draining]
    assert len(working) == max(least, workers_wanted(last, 0, SLOTS, 0.1))
    assert sum(fleet.streams.values()) == last
