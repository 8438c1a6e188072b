"""Actions from the dashboard on a real server: what is done there, what is refused, and what is seen on screen."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot

from dashboard.admin_client import Admin
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.screens.confirmation import ConfirmationScreen
from tests.dashboard.tui.piloting import screen_text
from tests.support.servers import Running, running_server
from whisper_ops.history import History
from whisper_ops.snapshot_client.http_client import Access
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource

TOKEN, ADMIN_TOKEN = "for-users", "for-operators"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "token").write_text(TOKEN, "utf-8")
    (folder / "admin").write_text(ADMIN_TOKEN, "utf-8")
    options = ("--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "2")
    tokens = ("--token-file", str(folder / "token"), "--admin-token-file", str(folder / "admin"))
    with running_server(folder, *options, *tokens) as running:
        yield running


def health(server: Running) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/health", headers={"Authorization": f"Bearer {TOKEN}"})
    said: dict[str, Any] = answer.raise_for_status().json()
    return said


@asynccontextmanager
async def watching(server: Running, history: Path, admin_token: str | None = ADMIN_TOKEN) -> AsyncIterator[Pilot[None]]:
    """A dashboard that polls the server, its cursor on it."""
    live = LiveFeed(
        Pollers([WhisperOpsSource(server.url, name="real", access=Access(TOKEN))], interval=0.2), None, history
    )
    admin = Admin({"real": server.url}, admin_token, tokens={"real": TOKEN})
    async with DashApp(live, history=history, admin=admin).run_test(size=(120, 40)) as pilot:
        await told(pilot, "healthy")
        yield pilot


async def say(pilot: Pilot[None], line: str) -> None:
    """Type a command, and answer yes where it asks."""
    await pilot.press("colon", *line, "enter")
    await pilot.pause()
    if isinstance(pilot.app.screen, ConfirmationScreen):
        await pilot.press("y")


async def told(pilot: Pilot[None], sign: str, seconds: float = 40.0) -> str:
    deadline = time.monotonic() + seconds
    while sign not in (text := screen_text(pilot)):
        assert time.monotonic() < deadline, f"never saw {sign!r} in {text}"
        await pilot.pause(0.05)
    return text


async def test_a_server_is_drained_and_let_in_again(server: Running, tmp_path: Path) -> None:
    async with watching(server, tmp_path / "history.db") as pilot:
        await say(pilot, "drain")
        await told(pilot, "real is draining: open streams go on")
        await told(pilot, "▽ real")
        assert health(server)["status"] == "draining"
        await say(pilot, "undrain")
        await told(pilot, "● real")
        assert health(server)["status"] == "healthy"


async def test_the_limit_of_a_server_is_set(server: Running, tmp_path: Path) -> None:
    async with watching(server, tmp_path / "history.db") as pilot:
        await told(pilot, "0/4")
        await say(pilot, "limit 3")
        await told(pilot, "real now admits 3 streams per GPU")
        await told(pilot, "0/6")
        assert health(server)["capacity"]["total_slots"] == 6
        await say(pilot, "limit 2")
        await told(pilot, "0/4")


@pytest.mark.parametrize(
    ("token", "said"), [("guessed", "real refused the admin token (40"), (None, "this needs the admin token")]
)
async def test_without_the_right_admin_token_nothing_happens(
    server: Running, tmp_path: Path, token: str | None, said: str
) -> None:
    async with watching(server, tmp_path / "history.db", token) as pilot:
        for command in ("drain", "limit 1"):
            await say(pilot, command)
            await told(pilot, said)
    assert health(server)["status"] == "healthy"
    assert health(server)["capacity"]["total_slots"] == 4


async def test_a_server_is_checked_and_the_findings_are_read(server: Running, tmp_path: Path) -> None:
    async with watching(server, tmp_path / "history.db") as pilot:
        await say(pilot, "check")
        await told(pilot, "check of real is done")
        text = screen_text(pilot)
        assert "connection 5 is refused" in text
        assert "No GPU resources available" in text
        assert "slots are free again" in text
        assert "balancer" in text, "what to do stands beside it"
        assert health(server)["capacity"]["used_slots"] == 0


async def test_from_the_dashboard_alone_to_a_limit_that_is_measured_and_set(server: Running, tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with watching(server, history) as pilot:
        await say(pilot, "sweep 1 4 s")
        await told(pilot, "level 1 of 1: 1 stream")
        text = await told(pilot, " left")
        assert re.search(r"█.* \d+ %, about \d+ s left", text), text
        text = await told(pilot, "Set the limit of real to 1 stream per GPU", 90)
        assert "It admits 2 now." in text
        assert "No level failed" in text, "what is known is said before it is answered"
        assert health(server)["capacity"]["total_slots"] == 4, "nothing is set before the answer"
        await pilot.press("y")
        text = await told(pilot, "real now admits 1 stream per GPU")
        assert health(server)["capacity"]["total_slots"] == 2
        assert "fleet › real › plan" in text, "the plan is on screen meanwhile"
        await pilot.press("4")
        await told(pilot, "sweep of real: 1 stream")
        await say(pilot, "limit 2")
        await told(pilot, "real now admits 2 streams per GPU")
    with History.reading(history) as stored:
        (sweep,) = stored.sweeps.every()
        assert sweep.sweep.state == "done"
        assert [level.streams for level in stored.sweeps.levels(sweep.id)] == [1]


async def test_a_sweep_is_stopped_and_keeps_what_it_has(server: Running, tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with watching(server, history) as pilot:
        await say(pilot, "sweep 1,2 60 s")
        await told(pilot, "level 1 of 2")
        await pilot.press("x")
        await told(pilot, "sweep of real was stopped; what it had measured is kept")
    with History.reading(history) as stored:
        (sweep,) = stored.sweeps.every()
        assert sweep.sweep.state == "interrupted"
