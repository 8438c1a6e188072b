"""What a new user is asked to find with nothing but `?`: each answer is on screen within five key presses.

The keys are those that were pressed in a terminal over real (simulated-engine) servers; here the same fleet is made up:
one server whose workers crashed for good, one that is full and refuses, one that is busy.
"""

import time
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from dashboard.chart_data import ChartData
from dashboard.fleet_state import FleetState
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.pages.help_page import QUESTIONS
from dashboard.tui.pages.server_page import server_page
from tests.dashboard.scenes import PLAN, gpu, snapshot
from tests.dashboard.tui.piloting import screen_text
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

SIZES = ((120, 40), (80, 24), (60, 20))
HOUR = 3600.0


def fleet(at: float, lag: float, refused: int) -> list[Snapshot]:
    """One poll of the three."""
    crashed = (gpu(0, 0, None, state="failed", restarts=5, slots=0), gpu(1, 9, 0.5))
    return [
        snapshot(
            "asr-fra-01",
            at,
            (gpu(0, 20, 0.9, busy_ratio=0.8), gpu(1, 20, 1.0, busy_ratio=0.8)),
            "critical",
            rejected_total=refused,
        ),
        snapshot("asr-fra-02", at, crashed, "degraded", slots=20),
        snapshot("asr-ams-01", at, (gpu(0, 12, lag), gpu(1, 14, lag, busy_ratio=0.99)), rejected_total=0),
    ]


@pytest.fixture
def app(tmp_path: Path) -> DashApp:
    """A dashboard over the three, with a history of an hour and a plan."""
    path, now = tmp_path / "history.db", time.time()
    with History.writing(path) as history:
        for seconds in range(0, 60, 5):
            history.polls.add(fleet(now - HOUR - 30 + seconds, 1.37, 0))
        history.plans.add(msgspec.structs.replace(PLAN, created_at=now - 86400))
    live = LiveFeed(Pollers([]), None, path)
    for seconds in (30, 20, 10, 0):
        for poll in fleet(now - seconds, 0.62, 40 - seconds):
            live.take(poll)
    live.refresh()
    return DashApp(live, history=path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("question", "keys", "answers"),
    [
        ("Which GPU is busiest?", ("b",), ("asr-ams-01 › gpu 1", "engine busy           99 %")),
        (
            "Why is a server red?",
            (),
            (
                "40 of 40 slots are taken; 30 a minute are refused",
                "GPU 0 failed after its worker was started again 5 times",
            ),
        ),
        ("What was the lag an hour ago?", ("R", "enter"), ("◀ replay", "1.37 s")),
        ("How many connections are safe?", ("3",), ("at most 18 connections per GPU",)),
    ],
)
async def test_an_answer_is_found(
    app: DashApp, size: tuple[int, int], question: str, keys: tuple[str, ...], answers: tuple[str, ...]
) -> None:
    assert question in dict(QUESTIONS), "the help has this question, and these keys"
    assert all(key in dict(QUESTIONS)[question] for key in keys)
    async with app.run_test(size=size) as pilot:
        await pilot.press(*keys)
        text = await settled(pilot)
    for answer in answers:
        assert answer in text, text


async def test_the_lag_of_one_server_an_hour_ago_is_under_the_time_cursor(app: DashApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("R", "enter")
        await settled(pilot)
        await pilot.press("g", "enter")
        text = await settled(pilot)
    assert "fleet › asr-fra-01" in text
    assert "lag p95 1.00 s of 2 s" in text


async def test_the_questions_are_what_help_begins_with(app: DashApp) -> None:
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("question_mark")
        text = await settled(pilot)
        for question, _ in QUESTIONS:
            assert question in text
        await pilot.press("question_mark")
        assert "worst lag p95" in await settled(pilot), "the same key closes it"


async def settled(pilot: Pilot[None]) -> str:
    """The screen as words, once what is read beside it has come, every line break a space."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    text = screen_text(pilot)
    return text + " ".join(text.split())


@pytest.mark.parametrize("size", [(80, 24), (60, 20)])
async def test_what_may_be_typed_for_a_replay_is_seen_whole(app: DashApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.press("R")
        await pilot.pause()
        assert "1 h ago   (or 14:03, yesterday 14:00)" in screen_text(pilot)


@pytest.mark.parametrize("width", [59, 79, 119, 199])
def test_no_part_of_what_a_server_is_is_cut(width: int) -> None:
    fed, now = FleetState(), time.time()
    made = snapshot("one", now, (gpu(0, 7, 0.4),))
    assert made.identity is not None
    fed.take(msgspec.structs.replace(made, identity=msgspec.structs.replace(made.identity, simulated=True)))
    said = server_page(fed.world(now), "one", ChartData(), width).text.splitlines()[0]
    assert len(said) <= width
    assert said.endswith("  simulated")
    assert ("24 cores, 64.0 GB" in said) is ("24 cores" in said)
    assert ("24 cores" in said) is (width >= 119)
