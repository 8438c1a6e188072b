"""Replay: the screens of a night that is over are the screens that were seen in it."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dashboard import figure_text
from dashboard.alerts import AlertRule
from dashboard.chart_data import ChartData
from dashboard.fleet_state import FleetState
from dashboard.history import point_in_time
from dashboard.history.history_writer import HistoryWriter
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.server_page import server_page
from tests.dashboard.scenes import PLAN, gpu, plan_of, silence, snapshot
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History
from whisper_ops.snapshot import Snapshot

NIGHT = float(int(time.time() // 3600) * 3600 - 7200)
"""When the recording began: within the time that a history keeps every poll."""
MINUTES = 40
STEP = 5.0


def whole(snapshot: Snapshot) -> Snapshot:
    """Figures that a history rounds are whole here, as real readings of power and their age are stored."""
    gpus = tuple(
        msgspec.structs.replace(gpu, power_watts=float(round(gpu.power_watts or 0)), reading_age_seconds=0.0)
        for gpu in snapshot.gpus
    )
    return msgspec.structs.replace(snapshot, gpus=gpus)


def night() -> Iterator[Snapshot]:
    """A quiet server; one that fills up and refuses; one that crashes for 15 minutes and starts anew."""
    for step in range(int(MINUTES * 60 / STEP)):
        at = NIGHT + step * STEP
        minute = step * STEP / 60
        yield whole(snapshot("quiet", at, (gpu(0, 4, 0.3), gpu(1, 3, 0.3))))
        streams = min(20, int(minute))
        refused = max(0, int((minute - 20) * 3))
        status = "critical" if streams > 18 else "healthy"
        yield whole(snapshot("full", at, (gpu(0, streams, 0.1 * streams),), status, rejected_total=refused))
        if 10 <= minute < 25:
            yield silence("crashed", at, "connection refused by 10.0.0.9:8000")
        else:
            born = NIGHT - 3600 if minute < 10 else NIGHT + 25 * 60
            yield whole(snapshot("crashed", at, (gpu(0, 5, 0.4),), started_at=born, rejected_total=0))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("night") / "history.db"
    with History.writing(path) as history:
        history.polls.add(night())
        history.plans.add(msgspec.structs.replace(PLAN, created_at=NIGHT + 600))
        history.polls.add(
            events=[EventRecord(at=NIGHT + 1500, server="crashed", kind="restart", detail="it started again")]
        )
        history.polls.add(
            (),
            (),
            [
                AlertRecord(
                    rule="silent",
                    severity="critical",
                    server="crashed",
                    started_at=NIGHT + 600,
                    ended_at=NIGHT + 1500,
                    sentence="no answer for 15 m",
                )
            ],
        )
    return path


def live(moment: float) -> FleetState:
    """The board of a dashboard that ran all night, at a moment."""
    board = FleetState()
    for poll in night():
        if poll.at <= moment:
            board.take(poll)
    board.plans = tuple(plan for plan in (plan_of(created_at=NIGHT + 600),) if plan.created_at <= moment)
    return board


@pytest.mark.parametrize("few_polls", [0, 2500], ids=["large fleet", "small fleet"])
@pytest.mark.parametrize("minute", [6, 9.95, 10.0, 14, 24.9, 25.1, 30, 39])
def test_replay_shows_what_the_live_screen_showed(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, minute: float, few_polls: int
) -> None:
    monkeypatch.setattr(point_in_time, "_FEW_POLLS", few_polls)
    moment = NIGHT + minute * 60
    replay = ReplayFeed(recorded, moment, clock=lambda: 0.0)
    replay.refresh()
    past = replay.world()
    present = live(moment).world(moment)
    by_name = {server.name: server for server in past.servers}
    for server in present.servers:
        assert msgspec.structs.replace(by_name[server.name], alerts=()) == server
    shown = msgspec.structs.replace(past, mode="live", speed=1.0, alerts=(), events=(), servers=tuple(
        msgspec.structs.replace(server, alerts=()) for server in past.servers))  # fmt: skip
    for width in (60, 80, 120):
        assert fleet_page(shown, FleetView(), width).text == fleet_page(present, FleetView(), width).text
        for name in ("full", "crashed"):
            assert (
                server_page(shown, name, ChartData(), width).text == server_page(present, name, ChartData(), width).text
            )
    replay.close()


RULES = (
    AlertRule(name="server silent", figure="silent_seconds", over=5, clear=0, hold_seconds=0, clear_seconds=0),
    AlertRule(name="late", figure="server.lag_p95_seconds", over=1.5, clear=1.2, hold_seconds=60, clear_seconds=10),
    AlertRule(name="slots", figure="slots_ratio", over=0.9, clear=0.8, hold_seconds=30, clear_seconds=10),
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same night as a dashboard with alert rules recorded it."""
    path = tmp_path_factory.mktemp("watched") / "history.db"
    with HistoryWriter(path) as writer:
        watching = LiveFeed(Pollers([]), writer, None, RULES)
        for poll in night():
            watching.take(poll)
        watching.monitor.update_alerts()
        assert writer.flush()
    return path


@pytest.mark.parametrize("few_polls", [0, 2500], ids=["large fleet", "small fleet"])
@pytest.mark.parametrize("minute", [5, 10, 10.2, 12, 15.5, 16.5, 19.4, 20, 24.9, 25.1, 39])
def test_replay_shows_the_alerts_that_the_live_screen_showed(
    watched: Path, monkeypatch: pytest.MonkeyPatch, minute: float, few_polls: int
) -> None:
    monkeypatch.setattr(point_in_time, "_FEW_POLLS", few_polls)
    moment = NIGHT + minute * 60
    then = LiveFeed(Pollers([]), None, None, RULES)
    for poll in night():
        if poll.at <= moment:
            then.take(poll)
    replay = ReplayFeed(watched, moment, clock=lambda: 0.0, rules=RULES)
    shown, seen = replay.world().alerts, then.world().alerts
    assert [(a.server, a.rule, a.since, a.until) for a in shown] == [(a.server, a.rule, a.since, a.until) for a in seen]
    assert (minute <= 10) is (seen == ()), "the night has its alerts"
    replay.close()


def test_nothing_of_what_came_later_is_known(recorded: Path) -> None:
    replay = ReplayFeed(recorded, NIGHT + 300, clock=lambda: 0.0)
    world = replay.world()
    assert world.plans == ()
    assert world.events == ()
    assert world.alerts == ()
    replay.close()


def test_an_alert_that_ended_later_still_stands(recorded: Path) -> None:
    replay = ReplayFeed(recorded, NIGHT + 900, clock=lambda: 0.0, rules=())
    (alert,) = replay.world().alerts
    assert alert.until is None
    replay.seek(NIGHT + 1600)
    replay.refresh()
    (alert,) = replay.world().alerts
    assert alert.until == NIGHT + 1500
    replay.close()


def test_time_passes_at_the_speed_that_was_set(recorded: Path) -> None:
    clock = [0.0]
    replay = ReplayFeed(recorded, NIGHT + 600, clock=lambda: clock[0])
    replay.faster(3)
    while replay.refresh():
        pass
    clock[0] = 6.0
    assert replay.world().now == NIGHT + 660
    replay.playing = False
    clock[0] = 60.0
    assert replay.world().now == NIGHT + 660
    assert replay.world().speed == 0
    replay.close()


def test_playing_on_gives_the_same_as_jumping_there(watched: Path) -> None:
    clock = [0.0]
    played = ReplayFeed(watched, NIGHT + 600, clock=lambda: clock[0], rules=RULES)
    played.faster(5)
    for tick in range(21):
        clock[0] = float(tick)
        played.world()
        played.refresh()
    jumped = ReplayFeed(watched, played.at, clock=lambda: 0.0, rules=RULES)
    assert played.at == NIGHT + 1800
    one, other = played.world(), jumped.world()
    assert [(a.server, a.rule, a.since, a.until) for a in one.alerts] == [
        (a.server, a.rule, a.since, a.until) for a in other.alerts
    ]
    for left, right in zip(one.servers, other.servers, strict=True):
        # The figures in an alert's sentence may differ: a jump has those of its end, from the history.
        assert msgspec.structs.replace(left, alerts=()) == msgspec.structs.replace(right, alerts=())
    played.close()
    jumped.close()


def test_a_step_on_needs_no_reading_where_it_was_read_ahead(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = ReplayFeed(recorded, NIGHT + 600, clock=lambda: 0.0)
    assert not replay.refresh(), "the next twenty seconds are read"
    monkeypatch.setattr(replay, "refresh", None)
    replay.seek(NIGHT + 610)
    assert replay.world().now == NIGHT + 610
    monkeypatch.undo()
    jumped = ReplayFeed(recorded, NIGHT + 610, clock=lambda: 0.0)
    assert replay.world().servers == jumped.world().servers
    replay.close()
    jumped.close()


def test_in_a_gap_the_nearest_record_is_shown_and_a_second_jump_asks_again(tmp_path: Path) -> None:
    path, born = tmp_path / "history.db", NIGHT
    with History.writing(path) as history:
        history.polls.add([snapshot("one", born, (gpu(0, 7, 0.77),)), snapshot("one", born + 2000, ())])
        history.polls.add([snapshot("two", born + 4000, (gpu(0, 3, 0.3),))])
    replay = ReplayFeed(path, born + 900, clock=lambda: 0.0)
    assert replay.at == born + 1
    assert replay.take_notice() == f"recording begins {figure_text.when(born, time.time())}; shown from there"
    assert replay.take_notice() is None, "it is said once"
    replay.seek(born + 2900, asked=True)
    replay.refresh()
    assert replay.at == born + 2001
    news = replay.take_notice() or ""
    assert news.startswith(f"nothing was recorded at {figure_text.when(born + 2900, time.time())}; shown from ")
    replay.seek(born + 900)
    replay.refresh()
    assert replay.at == born + 900, "a step goes where it goes"
    replay.close()


def test_a_history_without_polls_has_no_nearest_moment(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        history.polls.add(events=[EventRecord(at=NIGHT, server="one", kind="restart", detail="it started again")])
    replay = ReplayFeed(path, NIGHT + 900, clock=lambda: 0.0)
    assert (replay.at, replay.take_notice()) == (NIGHT + 900, None)
    replay.close()


def test_without_a_history_there_is_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no history"):
        ReplayFeed(tmp_path / "none.db", time.time())
