"""Members with impossible answers are silent, and spoil nothing."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import World, run
from whisper_ops import wire

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
