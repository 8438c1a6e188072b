"""A broker over whole servers: no stream too many, no slot lost, whatever members and brokers go through."""

import asyncio
from collections import Counter

import pytest

from server.broker.fleet import Fleet
from tests.server.broker_fleet import FleetWorld, ScriptedMembers
from tests.server.virtual import run


def test_clients_fill_every_member_alike_and_the_next_is_refused() -> None:
    async def main() -> None:
        fleet = await FleetWorld([2, 2, 2]).ready()
        clients = []
        for number in range(12):
            answer = await fleet.connect(f"10.0.0.{number}")
            assert answer.status_code == 200, answer.text
            clients.append(await fleet.going(answer.json()["ws_url"]).connected())
            assert max(fleet.used) - min(fleet.used) <= 1
        assert [client.messages[-1]["type"] for client in clients] == ["ready"] * 12
        full = await fleet.connect()
        assert (full.status_code, full.json()["code"]) == (503, "no_capacity")
        assert int(full.headers["retry-after"]) > 0
        for client in clients:
            client.leave()
        await asyncio.sleep(0.5)
        assert fleet.used == [0, 0, 0]
        await fleet.close()

    run(main)


@pytest.mark.parametrize(("addresses", "admin_token"), [(1, None), (1000, "admin")])
def test_a_thousand_at_once_through_two_brokers_get_each_slot_once(addresses: int, admin_token: str | None) -> None:
    async def main() -> None:
        fleet = FleetWorld([4, 4, 4, 4], 32, brokers=2, member_admin_token=admin_token, admin_token=admin_token)
        for world in fleet.worlds:
            object.__setattr__(world.hub.settings, "admin_token", admin_token)
        await fleet.ready()
        asked = [fleet.connect(f"10.0.{n % addresses // 250}.{n % addresses % 250}", n % 2) for n in range(1000)]
        answers = await asyncio.gather(*asked)
        assert Counter(answer.status_code for answer in answers) == {200: 512, 503: 488}
        at = Counter(answer.json()["port"] for answer in answers if answer.status_code == 200)
        urls = [answer.json()["ws_url"] for answer in answers if answer.status_code == 200]
        assert len(set(urls)) == 512, at
        assert [sum(name in url for url in urls) for name in fleet.names] == [128] * 4
        clients = [fleet.going(url) for url in urls[::8]]
        for client in clients:
            assert (await client.connected()).of("ready"), client.messages
        await asyncio.sleep(11)
        assert sum(fleet.used) == 64, "tickets that nobody came with hold nothing"
        for client in clients:
            client.leave()
        await asyncio.sleep(0.5)
        assert fleet.used == [0] * 4
        assert all(not world.hub.counters.rejected for world in fleet.worlds), "what a broker tries is nobody's demand"
        await fleet.close()

    run(main)


def test_a_stale_reading_costs_a_retry() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 2]).ready()
        others = [await fleet.worlds[1].client().connected() for _ in range(4)]
        answer = await fleet.connect()
        assert fleet.names[0] in answer.json()["ws_url"]
        assert fleet.fleet.retries == 1
        assert [other.of("ready") != [] for other in others] == [True] * 4
        await fleet.close()

    run(main)


def test_a_slot_that_was_freed_just_now_is_not_overlooked() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1], 1, interval_seconds=30.0).ready()
        clients = [await fleet.going((await fleet.connect()).json()["ws_url"]).connected() for _ in range(2)]
        assert (await fleet.connect()).status_code == 503
        clients[1].leave()
        await asyncio.sleep(0.3)
        assert (await fleet.connect()).status_code == 200
        await fleet.close()

    run(main)


@pytest.mark.parametrize("fault", ["dead", "hung"])
def test_a_member_that_does_not_answer_costs_clients_a_wait_and_no_more(fault: str) -> None:
    async def main() -> None:
        fleet = await FleetWorld([2, 2]).ready()
        getattr(fleet.wires, fault).add(fleet.names[0])
        loop = asyncio.get_running_loop()
        answers = []
        for number in range(4):
            began = loop.time()
            answers.append(await fleet.connect(f"10.0.0.{number}"))
            assert loop.time() - began < 2.5
        assert [answer.status_code for answer in answers] == [200] * 4
        assert all(fleet.names[1] in answer.json()["ws_url"] for answer in answers)
        await asyncio.sleep(12)
        async with fleet.asking() as http:
            said = (await http.get("/snapshot")).json()
        assert said["health"]["status"] == "degraded"
        assert said["health"]["capacity"]["total_slots"] == 4
        assert [member["state"] for member in said["members"]] == ["silent", "live"]
        assert [gpu["state"] for gpu in said["gpu_status"]["gpus"]] == ["failed", "failed", "ready", "ready"]
        assert "does not answer" in said["gpu_status"]["gpus"][0]["reading_error"]
        getattr(fleet.wires, fault).clear()
        await asyncio.sleep(15)
        assert fleet.fleet.is_ready
        assert (await fleet.connect("10.0.9.9")).status_code == 200
        await fleet.close()

    run(main)


def test_with_no_member_left_clients_are_told_so_and_come_back_with_the_first() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1]).ready()
        fleet.wires.dead.update(fleet.names)
        answer = await fleet.connect()
        assert (answer.status_code, answer.json()["code"]) == (503, "no_answer")
        async with fleet.asking() as http:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/livez")).status_code == 200
        fleet.wires.dead.clear()
        await asyncio.sleep(0.3)
        assert (await fleet.connect()).status_code == 200, "asked again before anybody is refused"
        await fleet.close()

    run(main)


def test_a_broker_that_dies_costs_no_stream_anything_and_a_new_one_knows_all_at_once() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1]).ready()
        clients = [await fleet.going((await fleet.connect()).json()["ws_url"]).connected() for _ in range(3)]
        speaking = [asyncio.create_task(client.speak(4.0)) for client in clients]
        await asyncio.sleep(1)
        for task in fleet._tasks:
            task.cancel()
        await asyncio.gather(*speaking)
        for client in clients:
            await client.end()
            assert client.of("done")
            assert len(client.text.split()) == 10
        next_one = Fleet(fleet.settings, fleet.membership, fleet.member)
        fleet.fleets.append(next_one)
        busy = await fleet.worlds[0].client().connected()
        await next_one.discover()
        assert [member.free for member in next_one.members.values()] == [1, 2]
        assert busy.of("ready")
        await fleet.close()

    run(main)


def test_members_that_cannot_be_looked_up_stay_and_those_that_left_go() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1]).ready()
        places: ScriptedMembers = fleet.membership
        places.error = OSError("the host is not known")
        await asyncio.sleep(11)
        assert len(fleet.fleet.members) == 2
        places.error = None
        gone = places.urls.pop(0)
        await asyncio.sleep(11)
        assert list(fleet.fleet.members) == places.urls
        answers = [await fleet.connect(f"10.0.0.{n}") for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        places.urls.append(gone)
        await asyncio.sleep(11)
        assert (await fleet.connect("10.0.7.7")).status_code == 200
        await fleet.close()

    run(main)
