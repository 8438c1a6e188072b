"""Replay from the screens: there and back, and where nothing was recorded."""

import time
from pathlib import Path

import pytest

from dashboard import figure_text
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.app import DashApp
from tests.dashboard.replay.test_replay_feed import NIGHT, recorded
from tests.dashboard.scenes import gpu, snapshot
from tests.dashboard.tui.piloting import screen_text
from whisper_ops.history import History

__all__ = ["recorded"]


async def test_the_past_is_shown_and_left_again(recorded: Path) -> None:
    app = DashApp(ReplayFeed(recorded, NIGHT + 900), history=recorded)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "◀ replay" in screen_text(pilot)
        assert "connection refused by 10.0.0.9:8000" in screen_text(pilot)
        await pilot.press("p")
        await pilot.pause()
        assert "stopped" in screen_text(pilot)
        await pilot.press("colon", *"forward 12 min", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "connection refused" not in screen_text(pilot)
        await pilot.press("N")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.feeds.shown, ReplayFeed)
        assert app.feeds.shown.at == pytest.approx(NIGHT + 600, abs=1)
        await pilot.press("L")
        await pilot.pause()
        assert "nothing is polled here" in screen_text(pilot)


async def test_the_lag_of_an_hour_ago_is_two_keys_away(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    hour = time.time() - 3600
    with History.writing(path) as history:
        history.polls.add([snapshot("one", hour - 5, (gpu(0, 7, 0.77),)), snapshot("one", hour + 3500, ())])
    app = DashApp(LiveFeed(Pollers([]), None, path), history=path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "◀ replay" in screen_text(pilot)
        assert "0.77 s" in screen_text(pilot)
        await pilot.press("L")
        await pilot.pause()
        assert "● live" in screen_text(pilot)


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 20)])
async def test_where_nothing_was_recorded_an_hour_ago_the_nearest_moment_is_shown_and_named(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path, born = tmp_path / "history.db", time.time() - 1500
    with History.writing(path) as history:
        history.polls.add([snapshot("one", born + n, (gpu(0, 7, 0.77 if n < 60 else 0.44),)) for n in range(1500)])
    app = DashApp(LiveFeed(Pollers([]), None, path), history=path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("R", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        text = screen_text(pilot)
        assert "0.77 s" in text
        assert f"recording begins {figure_text.when(born, time.time())}; shown from there" in text
        assert isinstance(app.feeds.shown, ReplayFeed)
        assert app.feeds.shown.at == pytest.approx(born + 1, abs=30)
