"""The fleet in the shapes of one server."""

import asyncio

import httpx
import msgspec

from server.broker.broker_app import make_app
from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import run
from whisper_ops import wire
from whisper_ops.plausible_ranges import possible
from whisper_ops.snapshot import from_wire


def test_the_fleet_reads_like_one_server() -> None:
    async def main() -> None:
        fleet = await FleetWorld([2, 3]).ready()
        clients = [await fleet.going((await fleet.connect()).json()["ws_url"]).connected() for _ in range(3)]
        await asyncio.gather(*(client.speak(3.0) for client in clients))
        await asyncio.sleep(1.2)
        async with fleet.asking() as http:
            body = (await http.get("/snapshot")).content
            metrics = (await http.get("/metrics")).text
            parts = {path: (await http.get(path)).json() for path in ("/health", "/gpu-status", "/performance")}
            members = (await http.get("/members")).json()
            assert (await http.get("/ping")).json()["vram_total"] == 5 * 24.0
        said = msgspec.json.decode(body, type=wire.ServerSnapshot)
        assert said.health.capacity.total_slots == 10
        assert said.performance.active_connections == 3
        assert [gpu.gpu_id for gpu in said.gpu_status.gpus] == [0, 1, 2, 3, 4]
        assert [gpu.server for gpu in said.gpu_status.gpus] == [fleet.names[0]] * 2 + [fleet.names[1]] * 3
        assert said.performance.latency.lag_p95_s is not None
        assert sum(said.performance.latency.lag_bucket_counts) > 0
        assert (said.engine.name, said.engine.model, said.engine.simulated) == ("simulated", "simulated", True)
        assert parts["/gpu-status"]["total_connections"] == 3
        assert parts["/health"]["gpus"] == {"total": 5, "with_connections": 3}
        assert parts["/performance"]["accepted_total"] == 3
        noted: list[str] = []
        snapshot = possible(from_wire("broker", 0.0, 0.0, said), lambda kind, words: noted.append(words))
        assert noted == []
        assert snapshot.figures is not None
        assert (snapshot.figures.slots, snapshot.figures.gpus) == (10, 5)
        assert 'whisper_ops_broker_members{state="live"} 2.0' in metrics
        assert "whisper_ops_slots 10.0" in metrics
        assert [member["slots"] for member in members["members"]] == [4, 6]
        await fleet.close()

    run(main)


def test_a_server_of_two_names_counts_once_and_a_broker_is_no_member() -> None:
    async def main() -> None:
        fleet = FleetWorld([2])
        fleet.membership.urls.append("http://127.0.0.1:9999")
        fleet.wires.apps["127.0.0.1:9999"] = fleet.wires.apps[fleet.names[0]]
        await fleet.ready()
        async with fleet.asking() as http:
            said = (await http.get("/snapshot")).json()
        assert said["health"]["capacity"]["total_slots"] == 4
        assert "same server" in said["members"][1]["error"]
        outer = FleetWorld([1])
        outer.membership.urls.append("http://127.0.0.1:9998")
        outer.wires.apps["127.0.0.1:9998"] = httpx.ASGITransport(make_app(fleet.fleet))
        await outer.ready()
        async with outer.asking() as http:
            said = (await http.get("/snapshot")).json()
        assert [member["state"] for member in said["members"]] == ["live", "silent"]
        await fleet.close()
        await outer.close()

    run(main)
