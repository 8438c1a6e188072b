"""A server on a lease: nobody new once its supervisor is silent, nobody cut off, and no orphan for ever."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.server.virtual import World, run

ADMIN = {"Authorization": "Bearer admin"}


async def renew(world: World, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1") as http:
        return await http.put("/admin/lease", headers=ADMIN, json=body)


async def world_on_a_lease(**settings: Any) -> World:
    return await World(**{"lease_seconds": 10.0, "admin_token": "admin", **settings}).ready()


async def renewed_for(world: World, seconds: int) -> None:
    for _ in range(seconds):
        assert (await renew(world)).status_code == 200
        await asyncio.sleep(1)


def test_a_lease_that_runs_out_takes_nobody_and_ends_nobody_and_a_renewal_opens_the_door_again() -> None:
    async def main() -> None:
        world = await world_on_a_lease()
        client = await world.client().connected()
        await renewed_for(world, 60)
        assert world.hub.status == "healthy"
        await client.speak(11)
        assert (world.hub.status, world.hub.ready) == ("draining", False)
        late = world.client()
        await late.finished()
        assert late.of("error")[0]["code"] == "draining"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1") as http:
            assert (await http.get("/connect")).status_code == 503
            gpus = (await http.get("/gpu-status")).json()["gpus"]
            assert gpus[0]["state"] == "draining"
        await client.speak(120)
        assert not client.over
        assert not client.of("draining"), "there may be nowhere to go"
        client.drop()
        back = await world.client(resume=client.resume_token).connected()
        assert back.of("ready"), "a live stream may come back"
        said = await renew(world)
        assert said.json()["active_connections"] == 1
        assert world.hub.ready
        assert (await world.client().connected()).of("ready")
        await back.end()
        assert world.hub.failure is None
        await world.close()

    run(main)


def test_an_orphan_ends_with_its_last_stream() -> None:
    async def main() -> None:
        world = await world_on_a_lease()
        client = await world.client().connected()
        await client.speak(30)
        assert world.hub.failure is None
        await client.end()
        assert client.text
        await world.until(lambda: world.hub.failure is not None, 5)
        assert "lease" in str(world.hub.failure)
        await world.close()

    run(main)


def test_an_orphan_of_long_drains_and_ends() -> None:
    async def main() -> None:
        world = await world_on_a_lease(orphan_seconds=100.0, drain_seconds=5.0)
        client = await world.client(idle=3600).connected()
        await client.speak(105)
        assert not client.of("draining")
        await client.speak(8)
        assert client.of("draining")
        await client.finished()
        assert client.close_code == 1001
        await world.until(lambda: world.hub.failure is not None, 5)
        await world.close()

    run(main)


def test_a_server_that_is_on_no_lease_says_so_and_never_lapses() -> None:
    async def main() -> None:
        world = await World(admin_token="admin").ready()
        assert (await renew(world)).status_code == 409
        await asyncio.sleep(1000)
        assert world.hub.ready
        assert world.hub.failure is None
        leased = await world_on_a_lease()
        assert (await renew(leased, seconds=5)).status_code == 422
        async with httpx.AsyncClient(transport=httpx.ASGITransport(leased.app), base_url="http://127.0.0.1") as http:
            assert (await http.put("/admin/lease")).status_code == 403
        await leased.close()
        await world.close()

    run(main)


def test_a_drain_takes_as_long_as_it_is_told_to() -> None:
    async def main() -> None:
        world = await World(drain_seconds=5.0, admin_token="admin").ready()
        client = await world.client().connected()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1") as http:
            for wrong in (-1, 1e9, "x"):
                body = {"deadline_s": wrong}
                assert (await http.post("/admin/drain", headers=ADMIN, json=body)).status_code == 422
            assert world.hub.status == "healthy"
            await http.post("/admin/drain", headers=ADMIN, json={"deadline_s": 60})
            await client.speak(30)
            assert not client.over
            await http.post("/admin/drain", headers=ADMIN, json={"deadline_s": 2})
            await client.speak(1)
            assert [notice["deadline_s"] for notice in client.of("draining")] == [60.0, 2.0]
            await client.finished()
            assert client.close_code == 1001
        await world.close()

    run(main)


@pytest.mark.parametrize("again", [False, True])
def test_a_drain_that_is_told_another_length_is_over_when_that_has_passed(again: bool) -> None:
    async def main() -> None:
        world = await World(drain_seconds=5.0).ready()
        client = await world.client().connected()
        world.hub.drain.start()
        over = asyncio.create_task(world.hub.drain.finished())
        if again:
            world.hub.drain.start(seconds=20.0)
        await client.speak(10)
        assert over.done() is not again
        await asyncio.sleep(15)
        assert over.done()
        await world.close()

    run(main)
