"""A broker over whole servers: no stream too many, no slot lost, whatever members and brokers go through."""

import asyncio
import json
import re
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from server.broker.broker_app import make_app
from server.broker.broker_settings import NamedMember
from server.broker.fleet import Fleet
from server.broker.membership import ListedMembers
from tests.server.broker_fleet import FleetWorld, Places
from tests.server.virtual import World, run
from whisper_ops import wire
from whisper_ops.plausible_ranges import possible
from whisper_ops.snapshot import from_wire

ADMIN = {"Authorization": "Bearer admin"}


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


CONNECT = {"pod_id": None, "port": 1, "active_streams": 0, "max_streams": 1}
SNAPSHOT_LIES: list[Any] = [
    b"<html>", b"[]", b'{"health":', b"\xff", b"{}", b"[" * 100_000,
]  # fmt: skip


async def _lying(world: World, change: dict[str, Any]) -> bytes:
    """What a member says of itself, but for its slots."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1") as http:
        said = (await http.get("/snapshot")).json()
    said["health"]["capacity"].update(change)
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    "lie",
    [
        *SNAPSHOT_LIES,
        {"total_slots": 10**30, "available_slots": 10**30},
        {"available_slots": -5},
        {"total_slots": -1},
        {"available_slots": 4000},
        {"total_slots": float("nan")},
    ],
    ids=range(11),
)
def test_a_member_that_says_what_cannot_be_is_silent_and_harms_nothing(lie: Any) -> None:
    async def main() -> None:
        fleet = FleetWorld([2, 2])
        body = lie if isinstance(lie, bytes) else await _lying(fleet.worlds[0], lie)
        fleet.wires.lies[fleet.names[0]] = lambda asked: (
            httpx.Response(200, content=body) if asked.url.path == "/snapshot" else None
        )
        await fleet.ready()
        answers = [await fleet.connect(f"10.0.0.{n}") for n in range(4)]
        assert all(fleet.names[1] in answer.json()["ws_url"] for answer in answers)
        async with fleet.asking() as http:
            said = msgspec.json.decode((await http.get("/snapshot")).content, type=wire.ServerSnapshot)
        assert said.health.capacity.total_slots == 4
        assert said.members is not None
        assert said.members[0].state == "silent"
        assert said.members[0].error
        await fleet.close()

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(500, text="oops"),
        httpx.Response(200, text="yes"),
        httpx.Response(200, json={**CONNECT, "ws_url": "javascript:alert(1)"}),
        httpx.Response(200, json={**CONNECT, "ws_url": "ws://a\nb/ws"}),
        httpx.Response(401),
        httpx.Response(200, content=b"x" * (1 << 20)),
    ],
)  # fmt: skip
def test_a_member_that_says_it_has_room_and_gives_none_is_asked_last(answer: httpx.Response) -> None:
    async def main() -> None:
        fleet = FleetWorld([8, 2], 4)
        fleet.wires.lies[fleet.names[0]] = lambda asked: (
            httpx.Response(answer.status_code, content=answer.content) if asked.url.path == "/connect" else None
        )
        await fleet.ready()
        answers = [await fleet.connect(f"10.0.0.{n}") for n in range(8)]
        assert [one.status_code for one in answers] == [200] * 8
        assert all(fleet.names[1] in one.json()["ws_url"] for one in answers)
        assert fleet.fleet.retries <= 3, "not every client pays for it"
        await fleet.close()

    run(main)


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
        next_one = Fleet(fleet.settings, fleet.places, fleet.member)
        fleet.fleets.append(next_one)
        busy = await fleet.worlds[0].client().connected()
        await next_one.discover()
        assert [member.free for member in next_one.members.values()] == [1, 2]
        assert busy.of("ready")
        await fleet.close()

    run(main)


def test_a_member_drains_and_no_client_is_sent_there() -> None:
    async def main() -> None:
        fleet = FleetWorld([2, 2], admin_token="admin", member_admin_token="admin")
        for world in fleet.worlds:
            object.__setattr__(world.hub.settings, "admin_token", "admin")
        await fleet.ready()
        live = await fleet.worlds[0].client().connected()
        async with fleet.asking() as http:
            assert (await http.post("/admin/drain", json={"member": fleet.names[0]})).status_code == 403
            unknown = await http.post("/admin/drain", json={"member": "nobody\n"}, headers=ADMIN)
            assert (unknown.status_code, "known: 127.0.0.1:9000" in unknown.json()["error"]) == (404, True)
            assert (await http.post("/admin/drain", json={"members": "x"}, headers=ADMIN)).status_code == 422
            done = await http.post("/admin/drain", json={"member": fleet.names[0]}, headers=ADMIN)
            assert (done.status_code, done.json()["status"]) == (200, "draining")
            answers = [await fleet.connect(f"10.0.0.{n}") for n in range(5)]
            assert [answer.status_code for answer in answers] == [200] * 4 + [503]
            assert all(fleet.names[1] in answer.json()["ws_url"] for answer in answers[:4])
            health = (await http.get("/health")).json()
            assert health["capacity"]["available_slots"] == 0
            assert live.of("draining")
            undone = await http.request("DELETE", "/admin/drain", json={"member": fleet.names[0]}, headers=ADMIN)
            assert undone.json()["status"] != "draining"
            assert (await fleet.connect("10.0.8.8")).status_code == 200
        await fleet.close()

    run(main)


def test_a_broker_drains_without_its_members_and_sets_limits_for_all_of_them() -> None:
    async def main() -> None:
        fleet = FleetWorld([2, 2], admin_token="admin", member_admin_token="admin")
        for world in fleet.worlds:
            object.__setattr__(world.hub.settings, "admin_token", "admin")
        await fleet.ready()
        async with fleet.asking() as http:
            said = await http.put("/admin/limits", json={"max_connections_per_gpu": 3}, headers=ADMIN)
            assert said.json() == {"max_connections_per_gpu": 3, "members": 2}
            assert (await http.get("/health")).json()["capacity"]["total_slots"] == 12
            await http.post("/admin/drain", headers=ADMIN)
            refused = await fleet.connect()
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert (await http.get("/readyz")).status_code == 503
            assert [world.hub.drain.active for world in fleet.worlds] == [False, False]
            await http.delete("/admin/drain", headers=ADMIN)
        assert (await fleet.connect()).status_code == 200
        await fleet.close()

    run(main)


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
        fleet.places.urls.append("http://127.0.0.1:9999")
        fleet.wires.apps["127.0.0.1:9999"] = fleet.wires.apps[fleet.names[0]]
        await fleet.ready()
        async with fleet.asking() as http:
            said = (await http.get("/snapshot")).json()
        assert said["health"]["capacity"]["total_slots"] == 4
        assert "same server" in said["members"][1]["error"]
        outer = FleetWorld([1])
        outer.places.urls.append("http://127.0.0.1:9998")
        outer.wires.apps["127.0.0.1:9998"] = httpx.ASGITransport(make_app(fleet.fleet))
        await outer.ready()
        async with outer.asking() as http:
            said = (await http.get("/snapshot")).json()
        assert [member["state"] for member in said["members"]] == ["live", "silent"]
        await fleet.close()
        await outer.close()

    run(main)


def test_members_that_cannot_be_looked_up_stay_and_those_that_left_go() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1]).ready()
        places: Places = fleet.places
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


def test_limits_by_address_hold_for_the_clients_of_a_broker() -> None:
    async def main() -> None:
        fleet = FleetWorld([2])
        object.__setattr__(fleet.worlds[0].hub.settings, "connections_per_address", 1)
        await fleet.ready()
        codes = [(await fleet.connect(address)).status_code for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
        assert codes == [200, 503, 200]
        await fleet.close()

    run(main)


def test_who_may_ask_a_broker_is_who_may_ask_a_server() -> None:
    async def main() -> None:
        fleet = FleetWorld([1], token="secret", member_token="inner", allow_origins=("https://app.example",))
        object.__setattr__(fleet.worlds[0].hub.settings, "token", "inner")
        await fleet.ready()
        async with fleet.asking() as http:
            assert (await http.get("/connect")).status_code == 401
            bearer = {"Authorization": "Bearer secret"}
            assert (await http.get("/connect", headers={**bearer, "Origin": "https://evil.example"})).status_code == 403
            assert (await http.get("/connect", headers={**bearer, "Origin": "https://app.example"})).status_code == 200
            assert (await http.get("/livez")).status_code == 200
            page = (await http.get("/snapshot", headers=bearer)).text
            # A person is asked for the token by a page that is whole: what it is made of comes without one.
            asks = await http.get("/", headers={"accept": "text/html"})
            assert (asks.status_code, 'id="login"' in asks.text) == (401, True)
            assert (await http.get("/", headers=bearer)).text == asks.text
            for part in re.findall(r'(?:src|href)="(page/[^"]+)"', asks.text):
                assert (await http.get(f"/{part}")).status_code == 200
            assert "id=" not in (await http.get("/docs", headers={"accept": "text/html"})).text
            assert (await http.get("/docs", headers=bearer)).status_code == 404
        assert "secret" not in page
        assert "inner" not in page
        await fleet.close()

    run(main)


def test_a_client_that_follows_redirects_needs_no_connect() -> None:
    async def main() -> None:
        fleet = await FleetWorld([1, 1], 1).ready()
        app = make_app(fleet.fleet)

        async def upgrade(path: str, query: str) -> tuple[int, dict[str, str]]:
            sent: list[dict[str, Any]] = []
            scope = {
                "type": "websocket", "path": path, "raw_path": path.encode(), "root_path": "", "headers": [],
                "query_string": query.encode(), "subprotocols": [], "client": ("10.0.0.1", 1), "scheme": "ws",
                "server": ("127.0.0.1", 8000), "extensions": {"websocket.http.response": {}},
            }  # fmt: skip

            async def receive() -> dict[str, Any]:
                return {"type": "websocket.connect"}

            async def send(message: Any) -> None:
                sent.append(message)

            await app(scope, receive, send)
            return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}

        status, headers = await upgrade("/asr", "language=en&token=secret&ticket=mine")
        assert status == 307
        there = httpx.URL(headers["location"])
        assert (there.scheme, there.path) == ("ws", "/asr")
        assert there.netloc.decode() in fleet.names
        assert there.params["language"] == "en"
        assert "secret" not in headers["location"]
        assert there.params["ticket"] != "mine"
        assert (await upgrade("/ws", ""))[0] == 307
        status, headers = await upgrade("/ws", "")
        assert (status, "retry-after" in headers) == (503, True)
        await fleet.close()

    run(main)


def test_a_name_that_cannot_be_looked_up_holds_up_no_other_member(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, list[str]] = {"asr.test": ["10.0.0.1", "10.0.0.2", "10.0.0.1"]}

    async def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host not in known:
            raise OSError("no such host")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        members = ListedMembers(
            [
                NamedMember("one", "http://one:8000"),
                NamedMember("all", "https://asr.test", is_dns=True),
                NamedMember("none", "http://none.test:8000", is_dns=True),
                NamedMember("same", "http://10.0.0.9:1"),
            ]
        )
        found = await members.find()
        assert [place.url for place in found] == [
            "http://one:8000", "https://10.0.0.1:443", "https://10.0.0.2:443", "http://10.0.0.9:1",
        ]  # fmt: skip
        assert [place.sni for place in found] == [None, "asr.test", "asr.test", None]
        known.clear()
        assert await members.find() == found, "what it led to before"
        known["none.test"] = ["10.0.0.9"]
        assert "http://10.0.0.9:8000" in [place.url for place in await members.find()]

    asyncio.run(main())
