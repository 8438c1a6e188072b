"""Who may ask a broker, and redirects of WebSocket upgrades."""

import re
from typing import Any

import httpx

from server.broker.broker_app import make_app
from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import run


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
