"""Sums of the fleet survive the restart of a member."""

import asyncio

import httpx

from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import World, run


def test_a_member_that_is_started_anew_is_used_again_and_lowers_no_count() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1]).ready()
        for _ in range(2):
            client = await fleet.going((await fleet.connect()).json()["ws_url"]).connected()
            await client.speak(1.0)
            await client.end()
        await asyncio.sleep(1.5)
        async with fleet.asking() as http:
            before = (await http.get("/performance")).json()
        assert (before["accepted_total"], before["total_completed_connections"]) == (2, 2)
        assert before["averages"]["setup_time_ms"] is not None
        name = fleet.names[0]
        fleet.wires.dead.add(name)
        await asyncio.sleep(3)
        anew = await World(1, max_connections_per_gpu=2).ready()
        await fleet.worlds[0].close()
        fleet.worlds[0] = anew
        fleet.wires.apps[name] = httpx.ASGITransport(anew.app)
        fleet.wires.dead.clear()
        await asyncio.sleep(3)
        client = await anew.client().connected()
        client.leave()
        await asyncio.sleep(1.5)
        async with fleet.asking() as http:
            after = (await http.get("/performance")).json()
            gpus = (await http.get("/gpu-status")).json()["gpus"]
        assert after["accepted_total"] == 3
        assert sum(after["latency"]["setup_bucket_counts"]) == 3
        assert [gpu["gpu_id"] for gpu in gpus] == [0, 1]
        await fleet.close()

    run(main)
