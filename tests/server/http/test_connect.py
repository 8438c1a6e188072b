"""`/connect`: which address is given, and to whom. Through ASGI, with virtual time."""

from typing import Any

import httpx
import pytest

from tests.server.connect_client import counts, going
from tests.server.http.test_routes import serving
from tests.server.virtual import World, run


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
