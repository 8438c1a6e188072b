"""`--watch`: processes and control groups beside a load test, and what is said when they end before it does."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capacity.sweep import watch
from capacity.sweep.watch import parse_watch, parse_watches
from whisper_ops.errors import UserError


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group `app` as version 2 shows it."""
    monkeypatch.setattr(watch, "_CGROUPS", tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 4000000\n")
    (tmp_path / "app" / "memory.current").write_text("1048576\n")
    return tmp_path


async def sampled(one: watch.Watch, count: int) -> None:
    async with asyncio.timeout(20):
        while len(one.rows) < count:  # noqa: ASYNC110  # a list has no event
            await asyncio.sleep(0.05)


async def test_a_process_that_ends_is_sampled_until_then_and_said() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220  # at once
    one = parse_watch(f"server={process.pid}")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    before = one.complaint
    process.communicate()
    await asyncio.wait_for(running, 10)
    assert one.rows[0]["memory_bytes"] > 0
    assert before is None
    assert (one.complaint or "").startswith(f"--watch server: process {process.pid} ended after {len(one.rows)} sample")
    # Nor is it taken for there when the next level begins.
    await asyncio.wait_for(one.run(), 1)


async def test_a_control_group_that_vanishes_is_said(groups: Path) -> None:
    one = parse_watch("app=app")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    assert one.rows[0]["memory_bytes"] == 1048576
    for name in ("cpu.stat", "memory.current"):
        (groups / "app" / name).unlink()
    (groups / "app").rmdir()
    await asyncio.wait_for(running, 10)
    assert "--watch app: control group" in (one.complaint or "")


async def test_what_ended_before_the_first_level_is_said() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220  # at once
    one = parse_watch(f"server={process.pid}")
    process.communicate()
    await asyncio.wait_for(one.run(), 5)
    assert one.rows == []
    assert "ended before the first sample" in (one.complaint or "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("server", "write NAME=PID or NAME=CGROUP"),
        ("=5", "write NAME=PID or NAME=CGROUP"),
        ("server=0", "there is no process 0"),
        ("server=99999999999999999999999", "there is no process 99999999999999999999999"),
        ("server=²", "there is no control group"),
        ("server=-5", "there is no control group"),
        ("server=none/such", "there is no control group"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(text: str, sentence: str, groups: Path) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        parse_watch(text)
    assert text in str(caught.value)


def test_two_of_one_name_would_hide_each_other() -> None:
    me = f"server={os.getpid()}"
    assert [one.name for one in parse_watches([me, f"other={os.getpid()}"])] == ["server", "other"]
    with pytest.raises(UserError, match="the name server is given already"):
        parse_watches([me, me])
