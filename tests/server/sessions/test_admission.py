"""`/connect`, its tickets and what they hold. Through ASGI, with virtual time."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.connections.client_addresses import client_network
from server.sessions.admission import Admission
from server.sessions.counters import ServerCounters
from server.sessions.refusals import AdmissionRefused
from server.sessions.slots import Slots
from server.settings import SimulatedLaw
from tests.server.http.test_routes import serving
from tests.server.virtual import Client, VirtualLoop, World, run

HERE = "http://there:8000"


def asking(world: World, address: str = "127.0.0.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(world.app, client=(address, 50000)), base_url=HERE)


async def connect_url(world: World, address: str = "127.0.0.1") -> str:
    async with asking(world, address) as http:
        answer = await http.get("/connect")
    answer.raise_for_status()
    return str(answer.json()["ws_url"])


def going(world: World, ws_url: str, **more: Any) -> Client:
    """A client that goes where `ws_url` says, and does nothing else that it was told."""
    parts = urlsplit(ws_url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return world.client(parts.path, **query, **more)


def counts(world: World) -> tuple[int, int, int]:
    stats = world.hub.counters
    return stats.tickets_issued, stats.tickets_used, stats.tickets_abandoned


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


def test_an_address_is_promised_no_more_than_there_is_room_for() -> None:
    async def main() -> None:
        world = await World(2, max_connections_per_gpu=2).ready()
        async with asking(world) as http:
            codes = [(await http.get("/connect")).status_code for _ in range(5)]
        assert codes == [200] * 4 + [503]
        assert await connect_url(world, "10.0.0.9"), "what one address asks for keeps no other out"
        await world.close()

    run(main)


def test_whoever_asks_again_and_again_holds_one_slot() -> None:
    async def main() -> None:
        world = await World(4, max_connections_per_gpu=4).ready()
        for _ in range(15):
            await connect_url(world)
        assert world.hub.slots.used == 1
        assert world.hub.status == "healthy"
        await asyncio.sleep(11)
        assert world.hub.slots.used == 0
        assert counts(world) == (15, 0, 15)
        await world.close()

    run(main)


def test_all_tickets_together_hold_half_of_the_slots() -> None:
    async def main() -> None:
        world = await World(4, max_connections_per_gpu=4).ready()
        urls = [await connect_url(world, f"10.0.{k}.1") for k in range(30)]
        assert world.hub.slots.used == 8
        late = await going(world, urls[-1]).connected()
        assert late.of("ready"), "a ticket that holds no slot is a plain connect"
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/connect?debug=1", 403), ("/connect?debug=please", 422)],
)
def test_nothing_is_reserved_for_a_request_that_is_refused(path: str, status: int) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        for _ in range(15):
            assert (await http.get(path)).status_code == status
        assert world.hub.slots.used == 0
        assert counts(world) == (0, 0, 0)
        assert (await http.get("/health")).json()["status"] == "healthy"

    serving(work, admin_token="root", max_connections_per_gpu=8)


def test_a_ticket_holds_its_slot_until_it_expires() -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=1).ready()
        url = await connect_url(world)
        other = world.client()
        await other.finished()
        assert other.close_code == 1013
        holder = await going(world, url).connected()
        assert holder.of("ready")
        await asyncio.sleep(15)
        assert world.hub.slots.used == 1, "the ticket's end must not take the stream's slot"
        holder.leave()
        await holder.finished()
        late = await connect_url(world)
        await asyncio.sleep(11)
        assert world.hub.slots.used == 0
        first = await world.client().connected()
        after = going(world, late)
        await after.finished()
        assert after.of("error")[0]["code"] == "no_capacity", "its time is over, and the server is full"
        first.leave()
        await first.finished()
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_two_clients_with_one_ticket_take_two_slots() -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=2).ready()
        url = await connect_url(world)
        clients = [await going(world, url).connected() for _ in range(2)]
        assert all(client.of("ready") for client in clients)
        assert world.hub.slots.used == 2
        third = going(world, url)
        await third.finished()
        assert third.of("error")[0]["code"] == "no_capacity"
        await world.close()

    run(main)


def test_an_unknown_ticket_is_a_plain_connect() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client(ticket="nonsense").connected()
        assert client.of("ready")
        await world.close()

    run(main)


@pytest.mark.parametrize("query", [{"sample_rate": "many"}, {"encoding": "opus"}])
def test_a_client_that_comes_with_a_ticket_and_is_refused_holds_nothing(query: dict[str, str]) -> None:
    async def main() -> None:
        world = await World().ready()
        refused = going(world, await connect_url(world), **query)
        await refused.finished()
        assert refused.close_code == 1003
        assert world.hub.slots.used == 0
        assert counts(world) == (1, 1, 0)
        await world.close()

    run(main)


@pytest.mark.parametrize("when_full", ["close", "503"])
def test_a_client_that_resumes_gives_its_ticket_back(when_full: str) -> None:
    async def main() -> None:
        world = await World(1, max_connections_per_gpu=2, when_full=when_full).ready()
        client = await world.client().connected()
        await client.speak(1.0)
        client.drop()
        await client.finished()
        again = await going(world, await connect_url(world), resume=client.resume_token).connected()
        assert again.of("ready")[0]["received_samples"] == 16000
        assert world.hub.slots.used == 1
        again.leave()
        await again.finished()
        assert world.hub.slots.used == 0
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


def test_a_ticket_of_a_gpu_that_fails_looks_for_another() -> None:
    async def main() -> None:
        world = await World(2, max_connections_per_gpu=1).ready()
        async with asking(world) as http:
            said = (await http.get("/connect")).json()
        world.hub.worker_lost(said["gpu_id"], failed=True)
        assert world.hub.slots.gpus[said["gpu_id"]].used == 0
        client = await going(world, said["ws_url"]).connected()
        assert client.of("ready")[0]["gpu_id"] == 1 - said["gpu_id"]
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


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip", "x-forwarded-proto"])
def test_behind_an_unknown_proxy_there_is_no_ticket(header: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = (await http.get("/connect", headers={header: "10.0.0.1"})).json()
        assert said["ticket"] is None
        assert "ticket" not in said["ws_url"]
        assert world.hub.slots.used == 0
        await world.client().connected()
        assert (await http.get("/connect", headers={header: "10.0.0.1"})).status_code == 503

    serving(work, devices=1, max_connections_per_gpu=1)


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({"x-forwarded-proto": "https"}, "wss"),
        ({"x-forwarded-proto": "https,http"}, "wss"),
        ({"forwarded": 'for=10.0.0.1; proto="https"'}, "wss"),
        ({"x-forwarded-proto": "http", "x-forwarded-for": "10.0.0.1"}, "ws"),
        ({"forwarded": "for=10.0.0.1;proto=http, proto=https"}, "ws"),
        ({}, "ws"),
    ],
)
def test_behind_a_proxy_that_encrypts_the_address_is_encrypted_too(headers: dict[str, str], scheme: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await http.get("/connect", headers=headers)
        assert answer.json()["ws_url"].startswith(f"{scheme}://there:8000/ws")
        assert answer.headers["cache-control"] == "no-store"

    serving(work)


def test_a_public_address_comes_from_its_template_and_keeps_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = (await http.get("/connect", headers={"x-forwarded-for": "10.0.0.1"})).json()
        assert said["ws_url"] == f"wss://abc123-8000.example/ws?region=eu&ticket={said['ticket']}"
        assert (await going(world, said["ws_url"]).connected()).of("ready")
        assert world.hub.slots.used == 1

    serving(work, public_url="wss://{pod_id}-{port}.example/ws?region=eu")


def test_on_runpod_the_address_is_the_pods_and_debug_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    monkeypatch.setenv("RUNPOD_API_KEY", "hush")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = (await http.get("/connect")).json()
        assert said["ws_url"] == f"wss://abc123-8000.proxy.runpod.net/ws?ticket={said['ticket']}"
        answer = await http.get("/connect?debug=1", headers={"authorization": "Bearer root"})
        assert answer.json()["environment"]["RUNPOD_POD_ID"] == "abc123"
        assert "hush" not in answer.text

    serving(work, admin_token="root")


@pytest.mark.parametrize("path", ["/ws", "/asr", "/", "/v1/realtime"])
def test_a_ticket_stands_for_the_token_once(path: str) -> None:
    async def main() -> None:
        world = await World(token="secret").ready()
        async with asking(world) as http:
            said = (await http.get("/connect", headers={"authorization": "Bearer secret"})).json()
        first = world.client(path, ticket=said["ticket"])
        await asyncio.sleep(0.1)
        assert first.close_code is None
        first.leave()
        await first.finished()
        for ticket in (said["ticket"], "", "None"):
            second = world.client(path, ticket=ticket)
            await second.finished()
            assert second.close_code == 1008
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "127.0.0.1", False),
    ],
)
def test_a_party_is_an_ipv4_address_or_a_64(one: str, other: str, *, same: bool) -> None:
    assert (client_network(one) == client_network(other)) is same


class TicketLife(RuleBasedStateMachine):
    """Whatever happens in whatever order: no slot is held by nobody, none twice, no address holds two by tickets."""

    @initialize(gpus=st.integers(1, 3), limit=st.integers(1, 3), cap=st.sampled_from([0, 1, 2]))
    def begin(self, gpus: int, limit: int, cap: int) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.slots, self.stats = Slots(gpus, limit), ServerCounters()
        for gpu in self.slots.gpus:
            gpu.state = "ready"
        settings = World.plain_settings(connections_per_address=cap)
        self.admission = Admission(settings, self.slots, self.stats, lambda: None)
        self.tickets: list[str] = []
        self.inside: list[str] = []
        self.number = 0
        self.held = 0

    def do(self, work: Any) -> Any:
        async def inside() -> Any:
            return work()

        return self.loop.run_until_complete(inside())

    @rule(address=st.integers(0, 3))
    def ask(self, address: int) -> None:
        with contextlib.suppress(AdmissionRefused):
            self.tickets.append(self.do(lambda: self.admission.ticket(f"10.0.0.{address}")).value)

    @rule(address=st.integers(0, 3), which=st.integers(-1, 30))
    def come(self, address: int, which: int) -> None:
        ticket = self.tickets[which % len(self.tickets)] if self.tickets and which >= 0 else None
        self.number += 1
        try:
            self.do(lambda: self.admission.admit(f"c{self.number}", f"10.0.0.{address}", ticket))
            self.inside.append(f"c{self.number}")
        except AdmissionRefused:
            assert self.slots.gpu_of(f"c{self.number}") is None

    @rule(which=st.integers(0, 30))
    def leave(self, which: int) -> None:
        if self.inside:
            self.do(lambda: self.admission.release(self.inside.pop(which % len(self.inside))))

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(gpu=st.integers(0, 2))
    def fail(self, gpu: int) -> None:
        gpu %= len(self.slots.gpus)
        if not self.slots.gpus[gpu].active and not any(self.slots.gpu_of(c) == gpu for c in self.inside):
            self.slots.gpus[gpu].state = "failed"
            self.do(lambda: self.admission.tickets.gpu_failed(gpu))

    @invariant()
    def slots_are_held_by_somebody(self) -> None:
        if not hasattr(self, "slots"):
            return
        out = self.stats.tickets_issued - self.stats.tickets_used - self.stats.tickets_abandoned
        by_tickets = self.slots.used - len(self.inside)
        assert 0 <= by_tickets <= min(out, 4)
        # With a GPU lost, half of the rest may be less than what tickets hold: those keep it, and no more is promised.
        assert by_tickets <= max(self.slots.total // 2, 1, self.held)
        self.held = by_tickets

    def teardown(self) -> None:
        if not hasattr(self, "slots"):
            return
        for one in self.inside:
            self.do(lambda one=one: self.admission.release(one))
        self.loop.run_until_complete(asyncio.sleep(30.0))
        assert self.slots.used == 0
        assert self.stats.tickets_issued == self.stats.tickets_used + self.stats.tickets_abandoned
        self.loop.close()
        asyncio.set_event_loop(None)


TestTicketLife = TicketLife.TestCase
TestTicketLife.settings = hypothesis_settings(max_examples=60, deadline=None)


async def connect_for(world: World, address: str, **headers: str) -> httpx.Response:
    async with asking(world, "10.9.9.9") as http:
        return await http.post("/connect", json={"address": address}, headers=headers)


def test_a_broker_reserves_for_each_of_its_clients_and_promises_no_more_than_there_is() -> None:
    async def main() -> None:
        world = await World(4, max_connections_per_gpu=4, admin_token="admin").ready()
        bearer = {"Authorization": "Bearer admin"}
        answers = [await connect_for(world, "10.0.0.1", **bearer) for _ in range(10)]
        assert world.hub.slots.used == 8, "one client's tickets hold half of the slots"
        assert [answer.json()["gpu_id"] is None for answer in answers] == [False] * 8 + [True] * 2
        answers += [await connect_for(world, f"10.0.0.{n}", **bearer) for n in range(2, 12)]
        assert [answer.status_code for answer in answers] == [200] * 16 + [503] * 4
        assert not world.hub.counters.rejected, "the broker asks the next server; nobody was refused yet"
        clients = [going(world, answer.json()["ws_url"], from_address="10.0.0.1") for answer in answers[:16]]
        for client in clients:
            assert (await client.connected()).of("ready")
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("settings", "headers", "body", "status"),
    [
        ({}, {}, b'{"address":"10.0.0.1"}', 200),  # on loopback, where nobody needs a token
        ({"host": "0.0.0.0"}, {}, b'{"address":"10.0.0.1"}', 403),
        ({"token": "t"}, {"Authorization": "Bearer t"}, b'{"address":"10.0.0.1"}', 403),
        ({"token": "t", "admin_token": "a"}, {"Authorization": "Bearer t"}, b'{"address":"10.0.0.1"}', 403),
        ({"token": "t", "admin_token": "a"}, {"Authorization": "Bearer a"}, b'{"address":"10.0.0.1"}', 200),
        ({"token": "t", "admin_token": "a"}, {}, b'{"address":"10.0.0.1"}', 401),
        ({}, {"Origin": "https://evil.example"}, b'{"address":"10.0.0.1"}', 403),
        ({}, {}, b'{"adress":"10.0.0.1"}', 422),
        ({}, {}, b'{"address":"' + b"1" * 65 + b'"}', 422),
        ({}, {}, b"[" * 70_000, 422),
        ({}, {}, b"", 422),
    ],
)
def test_who_may_ask_for_others(settings: dict[str, Any], headers: dict[str, str], body: bytes, status: int) -> None:
    async def main() -> None:
        world = await World(1, **settings).ready()
        transport = httpx.ASGITransport(world.app, client=("10.9.9.9", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            answer = await http.post("/connect", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert world.hub.slots.used == (status == 200)
        await world.close()

    run(main)
