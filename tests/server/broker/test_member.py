"""How a broker asks one member for slots."""

import httpx
import pytest

from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import run

CONNECT = {"pod_id": None, "port": 1, "active_streams": 0, "max_streams": 1}


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


def test_limits_by_address_hold_for_the_clients_of_a_broker() -> None:
    async def main() -> None:
        fleet = FleetWorld([2])
        object.__setattr__(fleet.worlds[0].hub.settings, "connections_per_address", 1)
        await fleet.ready()
        codes = [(await fleet.connect(address)).status_code for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
        assert codes == [200, 503, 200]
        await fleet.close()

    run(main)
