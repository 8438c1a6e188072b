"""Which streams are admitted. Through ASGI, with virtual time."""

import asyncio

import pytest

from server.settings import SimulatedLaw
from tests.server.connect_client import asking, connect_url, counts, going
from tests.server.virtual import World, run


@pytest.mark.parametrize("pod", [None, "abc123"])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("addresses", [1, 16])
def test_sixteen_clients_through_connect_fill_sixteen_slots_evenly_and_the_next_is_refused(
    monkeypatch: pytest.MonkeyPatch, pod: str | None, *, at_once: bool, addresses: int
) -> None:
    if pod:
        monkeypatch.setenv("RUNPOD_POD_ID", pod)
    places = [f"10.0.0.{1 + k % addresses}" for k in range(16)]

    async def main() -> None:
        world = await World(4, max_connections_per_gpu=4).ready()
        clients = []
        if at_once:
            urls = [await connect_url(world, place) for place in places]
            clients = [going(world, url, from_address=place) for url, place in zip(urls, places, strict=True)]
        else:
            for place in places:
                clients.append(going(world, await connect_url(world, place), from_address=place))
                await clients[-1].connected()
        for client in clients:
            assert (await client.connected()).of("ready"), client.messages
        assert [len(gpu.active) for gpu in world.hub.slots.gpus] == [4, 4, 4, 4]
        assert world.hub.slots.used == 16
        async with asking(world) as http:
            full = await http.get("/connect")
        assert full.status_code == 503
        assert full.json() == {"error": "No GPU resources available", "code": "no_capacity"}
        assert int(full.headers["retry-after"]) > 0
        assert counts(world) == (16, 16, 0)
        await world.close()

    run(main)


def test_a_full_server_takes_back_a_client_before_the_upgrade_too() -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=1, when_full="503").ready()
        client = await world.client().connected()
        await client.speak(1.0)
        client.drop()
        await client.finished()
        again = await world.client(resume=client.resume_token, offset=0).connected()
        assert again.status is None
        assert again.of("ready")
        assert world.hub.counters.rejected == {}
        assert world.hub.counters.accepted == 1
        await world.close()

    run(main)


def test_before_the_upgrade_a_silent_client_holds_a_slot_no_longer_than_a_ticket() -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=1, when_full="503").ready()
        silent = world.client("/")
        await asyncio.sleep(11)
        assert world.hub.slots.used == 0
        assert silent.over
        await world.close()

    run(main)


def test_a_client_that_does_not_wait_for_the_model_gives_its_slot_back_at_once() -> None:
    async def main() -> None:
        world = World(law=SimulatedLaw(load_seconds=20.0))
        hasty, early = world.client(), world.client()
        early.send(bytes(3200))
        await asyncio.sleep(1)
        assert world.hub.slots.used == 2
        hasty.leave()
        await hasty.finished()
        assert world.hub.slots.used == 1
        await early.connected()
        early.say('{"type":"end"}')
        await early.finished()
        assert early.of("done")[0]["audio_s"] == 0.1, "what was said while the model loaded is not lost"
        await world.close()

    run(main)


def test_while_it_drains_or_lags_connect_says_so_and_a_ticket_lets_nobody_in() -> None:
    async def main() -> None:
        world = await World(2, lag_objective_seconds=2.0).ready()
        url = await connect_url(world)
        world.hub.drain.start()
        late = going(world, url)
        await late.finished()
        assert late.of("error")[0]["code"] == "draining"
        assert world.hub.slots.used == 0
        async with asking(world) as http:
            refused = await http.get("/connect")
            assert refused.status_code == 503
            assert "draining" in refused.json()["error"]
            assert refused.json()["code"] == "draining"
            assert world.hub.counters.rejected == {"draining": 2}
            world.hub.drain.cancel()
            client = await world.client().connected()
            world.live(client.of("ready")[0]["gpu_id"]).engine.hanging = True
            await client.speak(5.5)
            behind = (await http.get("/connect")).json()
            assert "behind" in behind["error"]
            assert behind["code"] == "lagging"
        await world.close()

    run(main)


def test_connections_of_an_address_count_while_they_load_and_as_tickets() -> None:
    async def main() -> None:
        world = World(connections_per_address=2, law=SimulatedLaw(load_seconds=20.0), max_connections_per_gpu=16)
        clients = [world.client() for _ in range(8)]
        await asyncio.sleep(1)
        refused = [client for client in clients if client.of("error")]
        assert len(refused) == 6
        assert {client.of("error")[0]["code"] for client in refused} == {"too_many_connections"}
        assert (await world.client(from_address="10.0.0.9").connected()).of("ready")
        await connect_url(world, "10.0.0.10")
        async with asking(world, "10.0.0.10") as http:
            assert (await http.get("/connect")).status_code == 200
            assert (await http.get("/connect")).status_code == 503
        await world.close()

    run(main)
