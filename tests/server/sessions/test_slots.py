"""Who gets a slot, where, and what the others are told."""

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.sessions.slots import Slots
from server.settings import SimulatedLaw
from tests.server.virtual import World, run


def test_four_clients_are_spread_two_and_two_and_the_fifth_is_refused() -> None:
    async def main() -> None:
        world = await World(2, max_connections_per_gpu=2).ready()
        clients = [await world.client().connected() for _ in range(4)]
        assert [len(gpu.active) for gpu in world.hub.slots.gpus] == [2, 2]
        fifth = world.client()
        await fifth.finished()
        (error,) = fifth.of("error")
        assert error["code"] == "no_capacity"
        assert error["message"] == "No GPU resources available"
        assert error["retry_after_s"] > 0
        assert fifth.close_code == 1013
        for client in clients:
            client.leave()
            await client.finished()
        assert world.hub.slots.used == 0
        assert world.hub.counters.rejected == {"no_capacity": 1}
        assert world.hub.counters.completed == 4
        await world.close()

    run(main)


def test_with_503_the_refusal_comes_before_the_upgrade() -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=1, when_full="503").ready()
        first = await world.client().connected()
        second = world.client()
        await second.finished()
        assert second.status == 503
        assert second.messages == []
        first.leave()
        await first.finished()
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_clients_are_told_while_the_model_loads_and_begin_when_it_is_there() -> None:
    async def main() -> None:
        world = World(law=SimulatedLaw(load_seconds=5.0))
        client = world.client()
        await asyncio.sleep(1)
        assert client.of("status")[-1]["state"] == "loading_model"
        assert "GPU 0" in client.of("status")[-1]["message"]
        assert world.hub.status == "starting"
        assert not client.of("ready")
        await client.connected()
        assert client.of("ready")[0]["setup_time_ms"] == pytest.approx(5000, abs=200)
        await world.close()

    run(main)


def test_while_p95_lag_is_over_the_objective_new_streams_are_refused() -> None:
    async def main() -> None:
        world = await World(lag_objective_seconds=2.0).ready()
        client = await world.client().connected()
        world.live(0).engine.hanging = True
        await client.speak(5.5)
        late = world.client()
        await late.finished()
        assert late.of("error")[0]["code"] == "lagging"
        await world.close()

    run(main)


def test_draining_tells_everybody_admits_nobody_and_ends() -> None:
    async def main() -> None:
        world = await World(drain_seconds=5.0).ready()
        quick, slow = await world.client().connected(), await world.client().connected()
        await quick.speak(1.0)
        world.hub.drain.start()
        waiting = asyncio.create_task(world.hub.drain.finished())
        await asyncio.sleep(0.1)
        assert quick.of("draining")[0]["deadline_s"] == 5.0
        late = world.client()
        await late.finished()
        assert late.of("error")[0]["code"] == "draining"
        await quick.end()
        assert quick.close_code == 1000
        assert quick.text
        await waiting
        await slow.finished()
        assert slow.close_code == 1001
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_a_drain_that_is_called_off_ends_nobody() -> None:
    async def main() -> None:
        world = await World(drain_seconds=5.0).ready()
        client = await world.client().connected()
        world.hub.drain.start()
        await client.speak(2.0)
        world.hub.drain.cancel()
        await client.speak(10.0)
        assert not client.over
        assert (await world.client().connected()).of("ready")
        await world.close()

    run(main)


def test_where_to_go_is_told_again_when_it_changes_and_to_those_who_come_back() -> None:
    async def main() -> None:
        world = await World(drain_seconds=30.0, reconnect_url="wss://one.example/ws").ready()
        client = await world.client().connected()
        world.hub.drain.start()
        await client.speak(4.0)
        world.hub.drain.start()
        world.hub.drain.start("wss://two.example/ws")
        await client.speak(1.0)
        told = [(notice["reconnect_url"], notice["deadline_s"]) for notice in client.of("draining")]
        assert told == [("wss://one.example/ws", 30.0), ("wss://two.example/ws", 26.0)]
        client.drop()
        again = await world.client(resume=client.resume_token).connected()
        await world.until(lambda: bool(again.of("draining")))
        assert again.of("draining")[0]["reconnect_url"] == "wss://two.example/ws"
        await again.end()
        await world.close()

    run(main)


def test_lowering_the_limit_keeps_the_live_streams() -> None:
    async def main() -> None:
        world = await World(max_connections_per_gpu=3).ready()
        clients = [await world.client().connected() for _ in range(3)]
        world.hub.slots.set_limit(1)
        assert world.hub.slots.used == 3
        late = world.client()
        await late.finished()
        assert late.close_code == 1013
        await clients[0].speak(1.0)
        await clients[0].end()
        assert clients[0].close_code == 1000
        await world.close()

    run(main)


def test_round_robin_goes_round() -> None:
    slots = Slots(3, 2, "round_robin")
    for gpu in slots.gpus:
        gpu.state = "ready"
    assert [slots.reserve(f"s{i}") for i in range(7)] == [0, 1, 2, 0, 1, 2, None]


def test_ties_go_to_the_gpu_with_most_free_memory() -> None:
    slots = Slots(2, 4)
    for gpu in slots.gpus:
        gpu.state = "ready"
    slots.gpus[1].free_memory_bytes = 5e9
    assert slots.reserve("first") == 1
    assert slots.reserve("second") == 0


def test_a_ready_gpu_goes_before_one_that_still_loads() -> None:
    slots = Slots(2, 4)
    slots.gpus[1].state = "ready"
    assert [slots.reserve(str(i)) for i in range(5)] == [1, 1, 1, 1, 0]


class Admission(RuleBasedStateMachine):
    """Whatever happens in whatever order: no slot is held twice, lost, or given beyond the limit."""

    @initialize(
        gpus=st.integers(1, 4), limit=st.integers(1, 3), placement=st.sampled_from(["least_loaded", "round_robin"])
    )
    def begin(self, gpus: int, limit: int, placement: str) -> None:
        self.slots = Slots(gpus, limit, placement)  # type: ignore[arg-type]  # one of its two words
        self.held: set[str] = set()
        self.lowered = False

    @rule(owner=st.integers(0, 9))
    def reserve(self, owner: int) -> None:
        got = self.slots.reserve(f"s{owner}")
        if got is not None:
            self.held.add(f"s{owner}")
        else:
            assert all(gpu.used >= gpu.limit for gpu in self.slots.gpus if gpu.usable)

    @rule(owner=st.integers(0, 9))
    def activate(self, owner: int) -> None:
        if f"s{owner}" in self.held:
            self.slots.activate(f"s{owner}")

    @rule(owner=st.integers(0, 9), new=st.integers(10, 19))
    def rename(self, owner: int, new: int) -> None:
        if f"s{new}" not in self.held and self.slots.rename(f"s{owner}", f"s{new}") is not None:
            self.held.discard(f"s{owner}")
            self.held.add(f"s{new}")

    @rule(owner=st.integers(0, 19))
    def release(self, owner: int) -> None:
        freed = self.slots.release(f"s{owner}")
        assert (freed is not None) == (f"s{owner}" in self.held)
        self.held.discard(f"s{owner}")
        assert self.slots.release(f"s{owner}") is None

    @rule(gpu=st.integers(0, 3), state=st.sampled_from(["starting", "ready", "failed"]))
    def change(self, gpu: int, state: str) -> None:
        self.slots.gpus[gpu % len(self.slots.gpus)].state = state  # type: ignore[assignment]  # one of its words

    @rule(limit=st.integers(1, 3))
    def limit(self, limit: int) -> None:
        self.lowered = True
        self.slots.set_limit(limit)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "slots"):
            assert self.slots.used == len(self.held)
            for gpu in self.slots.gpus:
                assert not gpu.reserved & gpu.active
                assert self.lowered or gpu.used <= gpu.limit


TestAdmission = Admission.TestCase
