"""A sweep or a check in the background: asked first, watched, stopped, found again."""

import asyncio
import sys
import time

import pytest
from textual.pilot import Pilot

from dashboard.background_command import BackgroundCommand
from dashboard.tui.app import DashApp
from dashboard.tui.commands.background import run_in_background
from tests.dashboard.tui.piloting import Asked, app, say, screen_text, told


@pytest.mark.parametrize(
    ("line", "asked", "arguments"),
    [
        ("sweep 5,10", "Sweep asr-1 with 5,10 speaking clients?", ["sweep", "http://asr-1:8000/", "--levels", "5,10"]),
        (
            "sweep 5,10 30 s",
            "Sweep asr-1 with 5,10 speaking clients, 30 s each?",
            ["--levels", "5,10", "--duration", "30"],
        ),
        ("sweep 1 5 s", "Sweep asr-1 with 1 speaking client, 5 s each?", ["--levels", "1", "--duration", "5"]),
        ("check", "Check asr-1?", ["check", "http://asr-1:8000/", "--yes"]),
    ],
)
async def test_what_runs_in_the_background_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, line: str, asked: str, arguments: list[str]
) -> None:
    shown: list[str] = []

    async def never_ends(command: BackgroundCommand) -> None:
        shown.extend(command._command)
        command._began = time.monotonic()
        await asyncio.sleep(600)

    monkeypatch.setattr(BackgroundCommand, "run", never_ends)
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, line)
        assert asked in screen_text(pilot)
        assert not shown
        await pilot.press("y")
        await pilot.pause()
        assert set(arguments) <= set(shown)
        assert "running for" in screen_text(pilot)
        await pilot.press("h", "5")
        await pilot.pause()
        assert "running for" in screen_text(pilot), "it is found again"
        await pilot.press("h")
        await say(pilot, line)
        assert "is still running" in screen_text(pilot), "one at a time"


async def test_levels_that_are_none_are_refused() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, "sweep lots")
        assert "as in :sweep 5,10,20" in screen_text(pilot)


def run(pilot: Pilot[None], code: str) -> BackgroundCommand:
    """A command of our own beside the dashboard, on its screen."""
    command = BackgroundCommand("sweep of asr-1", [sys.executable, "-c", code])
    assert isinstance(pilot.app, DashApp)
    run_in_background(pilot.app.context, command, "asr-1")
    return command


async def test_a_command_is_watched_to_its_end() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        run(pilot, "import sys; print('level 1: passed', flush=True); sys.exit(1)")
        assert "level 1: passed" in await told(
            pilot, "▲ the sweep of asr-1 is done, and its answer is no: level 1: passed"
        )


async def test_the_time_of_a_command_begins_with_it_and_not_with_its_question() -> None:
    command = BackgroundCommand("sweep of asr-1", [sys.executable, "-c", ""])
    await asyncio.sleep(0.05)
    assert command.seconds == 0
    before = time.monotonic()
    await command.run()
    assert 0 < command.seconds <= time.monotonic() - before


async def test_a_long_sentence_of_a_command_is_read_to_its_end() -> None:
    async with app(Asked()).run_test(size=(60, 20)) as pilot:
        run(pilot, "print('the server cannot be reached, ' * 4 + 'is it running?')")
        assert "is it running?" in await told(pilot, "● done")


async def test_a_command_goes_on_when_its_screen_is_left_and_is_found_again() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, "running")
        assert "no sweep or check was started here yet" in screen_text(pilot)
        command = run(pilot, "import time; print('half-way', flush=True); time.sleep(30)")
        await told(pilot, "half-way")
        await pilot.press("h")
        await pilot.pause()
        assert "asr-1" in screen_text(pilot)
        assert command.code is None, "it still runs"
        command.stop()
        await told(pilot, "the sweep of asr-1 was stopped")


async def test_a_command_is_stopped_by_a_key() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        run(pilot, "import time; print('ready', flush=True); time.sleep(60)")
        await told(pilot, "ready")
        await pilot.press("x")
        await told(pilot, "▲ the sweep of asr-1 was stopped")


async def test_a_command_ends_with_the_dashboard() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        command = run(pilot, "import time; print('ready', flush=True); time.sleep(60)")
        await told(pilot, "ready")
        await pilot.press("q")
    assert command.code is not None, "nothing is left behind"
