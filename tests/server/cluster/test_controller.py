"""What keeps a cluster's workers as many as they should be, and what a broker knows of them: over a made-up cluster."""

import asyncio
from typing import Any

import pytest

from server.broker.fleet import Fleet
from server.cluster.controller import CHECK_SECONDS, Controller
from server.cluster.ray_membership import RayMembers
from server.cluster.scaling import ScalingBounds
from server.cluster.worker_spec import ServerState, WorkerReport, WorkerSpec
from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import run

SPEC = WorkerSpec(arguments=(), admin_token="admin", version="0")
NAMES = [f"worker-{letter}" for letter in "abcdef"]


class MadeUp:
    """A cluster whose workers are servers of a `FleetWorld`: one more is the next of those."""

    def __init__(self, world: FleetWorld) -> None:
        self.world = world
        self.names: list[str] = []
        self.drained: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.mute: set[str] = set()
        self.none: set[str] = set()
        self.why: str | None = None
        self.error: OSError | None = None

    def workers(self) -> dict[str, WorkerReport | None]:
        if self.error is not None:
            raise self.error
        return {name: None if name in self.mute else self._report(name) for name in self.names}

    def _report(self, name: str) -> WorkerReport:
        number = NAMES.index(name)
        slots = self.world.worlds[number].hub.slots
        state: ServerState = "none" if name in self.none else "draining" if name in self.drained else "live"
        url = f"http://{self.world.names[number]}"
        leaving = name in self.drained
        return WorkerReport(
            name=name, url=url, state=state, streams=slots.used, slots=slots.total, is_draining=leaving, error=self.why
        )

    def add(self, spec: WorkerSpec) -> str:
        name = next(name for name in NAMES if ("add", name) not in self.calls)
        self.names.append(name)
        self.calls.append(("add", name))
        return name

    def drain(self, name: str, deadline_seconds: float) -> None:
        self.calls.append(("drain", name))
        self.drained.append(name)
        self.world.worlds[NAMES.index(name)].hub.drain.start(seconds=deadline_seconds)

    def recall(self, name: str) -> None:
        self.calls.append(("recall", name))
        self.drained.remove(name)
        self.world.worlds[NAMES.index(name)].hub.drain.cancel()

    def remove(self, name: str, drain_seconds: float = 0.0) -> None:
        self.calls.append(("remove", name))
        self.names.remove(name)


class Scaled:
    """A broker and a controller over it, in virtual time."""

    def __init__(self, least: int, most: int, **bounds: Any) -> None:
        self.world = FleetWorld([1] * 4, slots=4)
        self.cluster = MadeUp(self.world)
        self.narrated: list[str] = []
        self.fleet = Fleet(self.world.settings, RayMembers(self.cluster), self.world.member)
        self.world.fleets[:] = [self.fleet]
        bounds = {"slots": 4, "hold_seconds": 20.0, **bounds}
        self.controller = Controller(self.cluster, SPEC, ScalingBounds(least, most, **bounds), self.narrated.append)

    async def run(self) -> "Scaled":
        await self.world.ready()
        self._task = asyncio.create_task(self.controller.run(self.fleet))
        await self.looks(2)
        return self

    async def looks(self, count: int = 1) -> None:
        await asyncio.sleep(count * CHECK_SECONDS + 0.5)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.world.close()

    async def stream(self) -> Any:
        answer = await self.world.connect()
        assert answer.status_code == 200, answer.text
        return await self.world.going(answer.json()["ws_url"]).connected()


def test_a_fleet_grows_by_what_a_broker_refuses_and_shrinks_when_its_streams_have_gone() -> None:
    async def main() -> None:
        fleet = await Scaled(1, 3).run()
        cluster = fleet.cluster
        assert cluster.calls == [("add", "worker-a")]
        assert (await fleet.world.connect()).status_code == 200, "as soon as it is there, not ten seconds later"
        await asyncio.sleep(11)
        clients = [await fleet.stream() for _ in range(4)]
        refused = await fleet.world.connect()
        assert refused.json()["code"] == "no_capacity"
        await fleet.looks(3)
        assert ("add", "worker-b") in cluster.calls
        assert ("add", "worker-c") not in cluster.calls
        clients.append(await fleet.stream())
        for client in clients[:-1]:
            await client.end()
        await fleet.looks(8)
        assert cluster.calls[2:] == [("drain", "worker-a"), ("remove", "worker-a")], cluster.calls
        assert not clients[-1].over
        assert [place.name for place in await RayMembers(cluster).find()] == ["worker-b"]
        assert any("drain 1 worker" in line for line in fleet.narrated)
        await clients[-1].end()
        await fleet.close()

    run(main)


def test_while_ray_does_not_answer_the_known_workers_go_on_and_nothing_is_started_or_ended() -> None:
    async def main() -> None:
        fleet = await Scaled(2, 2).run()
        before = list(fleet.cluster.calls)
        fleet.cluster.error = OSError("Ray does not list its workers: gone")
        client = await fleet.stream()
        await fleet.looks(20)
        assert fleet.cluster.calls == before
        assert (await fleet.world.connect()).status_code == 200
        assert len(fleet.fleet.members) == 2
        assert sum("Ray does not list" in line for line in fleet.narrated) == 1, "once is enough"
        fleet.cluster.error = None
        await fleet.looks(2)
        assert fleet.cluster.calls == before
        await client.end()
        await fleet.close()

    run(main)


def test_an_actor_that_is_restarted_keeps_its_place_and_holds_up_shrinking() -> None:
    async def main() -> None:
        fleet = await Scaled(1, 2, hold_seconds=0.0).run()
        cluster = fleet.cluster
        cluster.add(SPEC)
        cluster.mute = {"worker-a"}
        await fleet.looks(4)
        assert [name for call, name in cluster.calls if call != "add"] == []
        assert sorted(member.name for member in fleet.fleet.members.values()) == ["worker-a", "worker-b"]
        cluster.mute = set()
        await fleet.looks(3)
        assert [call for call, _ in cluster.calls[2:]] == ["drain", "remove"]
        await fleet.close()

    run(main)


@pytest.mark.parametrize("leaving", [False, True])
def test_a_worker_without_a_server_waits_for_one_unless_it_is_leaving(leaving: bool) -> None:
    async def main() -> None:
        fleet = await Scaled(1, 1).run()
        cluster = fleet.cluster
        if leaving:
            cluster.drained.append("worker-a")
        cluster.none.add("worker-a")
        await fleet.looks(2)
        expected = [("add", "worker-b"), ("remove", "worker-a")] if leaving else []
        assert sorted(cluster.calls[1:]) == expected
        await fleet.close()

    run(main)


def test_what_an_operator_drains_is_replaced() -> None:
    async def main() -> None:
        fleet = await Scaled(2, 2).run()
        client = await fleet.stream()
        with_stream = NAMES[fleet.world.used.index(1)]
        fleet.cluster.drain(with_stream, 3600)
        await fleet.looks(2)
        assert [call for call, _ in fleet.cluster.calls] == ["add", "add", "drain", "add"]
        await client.end()
        await fleet.looks(2)
        assert fleet.cluster.calls[-1] == ("remove", with_stream)
        await fleet.close()

    run(main)


def test_why_a_worker_does_not_come_is_said_once_each_time_it_is_another_reason() -> None:
    async def main() -> None:
        fleet = await Scaled(1, 1).run()
        fleet.cluster.none.add("worker-a")
        for reason in ("the server ended: no such model", "the server ended: the GPU has no memory left"):
            fleet.cluster.why = reason
            await fleet.looks(5)
        said = [line.split(": the server ")[1] for line in fleet.narrated if "coming" in line and "the server" in line]
        assert said == ["ended: no such model", "ended: the GPU has no memory left"]
        await fleet.close()

    run(main)
