"""The fleet page over a real broker and real servers: full, drained from its row, killed, and known to two brokers."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from websockets.asyncio.client import connect

from dashboard.admin_client import Admin
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from tests.dashboard.scenarios.test_real_actions import told
from tests.support.servers import Running, running_broker, running_server, whisper_ops
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource

SIMULATED = ("--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "1")


@asynccontextmanager
async def watching(brokers: dict[str, Running], token: str) -> AsyncIterator[Pilot[None]]:
    """A dashboard over the brokers, at the page of their servers."""
    live = LiveFeed(
        Pollers([WhisperOpsSource(one.url, name=name) for name, one in brokers.items()], interval=0.2), None, None
    )
    admin = Admin({name: one.url for name, one in brokers.items()}, token)
    async with DashApp(live, admin=admin).run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        yield pilot


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_servers_behind_a_real_broker(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("for-operators", "utf-8")
    admin = ("--admin-token-file", str(tmp_path / "admin"))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED, *admin)) for _ in range(3)]
        named = [f"asr-{number}={server.url}" for number, server in enumerate(servers)]
        brokers = {
            name: stack.enter_context(running_broker(tmp_path, *members, *admin, "--interval", "0.3s"))
            for name, members in (("first", named), ("second", named[:2]))
        }
        async with watching(brokers, "for-operators") as pilot, contextlib.AsyncExitStack() as streams:
            await told(pilot, "● 3 healthy")
            await told(pilot, "free 6 of 6 slots")
            for _ in range(2):
                await streams.enter_async_context(connect(f"ws://127.0.0.1:{servers[0].port}/ws"))
            text = await told(pilot, "◆ 1 full")
            assert "free 4 of 6 slots    streams 2    3 servers · 6 GPUs · 2 brokers" in text
            assert "2/2" in next(line for line in text.splitlines() if "asr-0" in line)

            assert isinstance(pilot.app, DashApp)
            pilot.app.context.screen.sheet.select("member first\tasr-1")
            if pilot.app.context.screen.sheet.cursor != "member first\tasr-1":  # the other broker read it later
                pilot.app.context.screen.sheet.select("member second\tasr-1")
            await pilot.press("colon", *"drain", "enter")
            await told(pilot, "Drain asr-1?")
            await pilot.press("y")
            await told(pilot, "▽ 1 draining")
            assert servers[1].get("/health")["status"] == "draining", "that server, not its broker"
            assert brokers["first"].get("/health")["status"] != "draining"

            os.killpg(servers[2].process.pid, signal.SIGKILL)
            text = await told(pilot, "✕ 1 lost")
            assert text.index("asr-2") < text.index("asr-1"), "what is lost comes first"
            assert "free 0 of" in text
            await pilot.press("1")
            text = await told(pilot, "1 lost: asr-2")

        once = whisper_ops("dash", "--once", brokers["first"].url, timeout=60)
        assert once.returncode == 0, once.stderr
        rows = {line.split()[0]: line for line in once.stdout.splitlines() if line.startswith("asr-")}
        assert {name: row.split()[2] for name, row in rows.items()} == {
            "asr-0": "healthy", "asr-1": "draining", "asr-2": "lost",
        }  # fmt: skip
