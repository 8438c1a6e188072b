"""Over a recorded night with a crash, a full server and a restart, replay shows what the live screen showed."""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from dashboard.alerts import AlertRule, load_rules
from tests.dashboard.night import Night, replayed, watched

pytestmark = pytest.mark.serial

QUICK = (
    AlertRule(name="server silent", figure="silent_seconds", over=0.5, clear=0, hold_seconds=0, clear_seconds=0,
         severity="critical"),
    AlertRule(name="slots over 90 %", figure="slots_ratio", over=0.9, clear=0.85, hold_seconds=0.5, clear_seconds=0.5),
)  # fmt: skip
"""The shipped rules hold for half a minute; this night is over by then."""

LONG_SECONDS = float(os.environ.get("WHISPER_OPS_NIGHT", "0"))


@pytest.mark.slow
async def test_replay_shows_a_night_that_was_recorded(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with watched(tmp_path, history, QUICK, interval=0.25) as night:
        north, south = night.servers
        await night.look("quiet")
        await night.fill(north)
        await night.look("full")
        await night.crash_a_worker(south)
        await night.look("a worker was lost")
        await night.kill(south)
        await night.look("silent")
        await night.start_again(south)
        await night.look("back")
    assert "critical" in page(night, "full", "fleet")
    assert "4/4" in page(night, "full", "fleet")
    assert "connection refused" in page(night, "silent", "fleet")
    assert "server silent" in page(night, "silent", "alerts")
    assert "the worker of GPU 0 was restarted" in page(night, "back", "events")
    assert "restarted at" in page(night, "back", "events")
    await same(night, history, QUICK)


@pytest.mark.skipif(not LONG_SECONDS, reason="minutes long: make bench-night")
async def test_replay_shows_a_long_night(tmp_path: Path) -> None:
    """The shipped rules, a poll a second, and whatever happens next."""
    history, rules, chance = tmp_path / "history.db", load_rules(), random.Random(LONG_SECONDS)
    until = time.monotonic() + LONG_SECONDS
    async with watched(tmp_path, history, rules, interval=1.0) as night:
        while time.monotonic() < until:
            server = chance.choice(night.servers)
            happening = chance.choice(("fill", "crash", "restart"))
            if happening == "fill":
                opened = await night.fill(server)
                await night.rest(chance.uniform(5, 40))
                await night.look(night.happened[-1])
                for client in opened:
                    await client.close()
            elif happening == "crash":
                await night.crash_a_worker(server)
            else:
                await night.kill(server)
                await night.look(night.happened[-1])
                await night.start_again(server)
            await night.look(night.happened[-1])
            await night.rest(chance.uniform(0, 5))
    sys.stdout.write(f"\n{len(night.moments)} moments in {LONG_SECONDS:g} s: {'; '.join(night.happened)}\n")
    await same(night, history, rules)


async def same(night: Night, history: Path, rules: tuple[AlertRule, ...] | list[AlertRule]) -> None:
    """Replay every moment that was looked at, and find the same on every page."""
    for moment in night.moments:
        again = await replayed(history, moment, rules)
        for name, shown in moment.pages.items():
            assert again[name] == shown, f"{name} when {moment.name}, after {night.happened}"


def page(night: Night, moment: str, name: str) -> str:
    return next(seen.pages[name] for seen in night.moments if seen.name == moment)
