"""The present: polls become alerts and events on screen and rows in the history; costs and writers are told."""

import time
from pathlib import Path

import msgspec
import pytest

from dashboard.alerts import AlertRule
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.change_events import ChangeEvents
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed, ProcessCost
from dashboard.tui.pages.alerts_page import alerts_page
from dashboard.tui.pages.events_page import events_page
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from tests.dashboard.scenes import NOW, PLAN, gpu, silence, snapshot
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

LATE = AlertRule(name="late", figure="server.lag_p95_seconds", over=1.5, clear=1.2, hold_seconds=3, clear_seconds=2)


def poll(live: LiveFeed, at: float, lag: float) -> None:
    live.take(snapshot("one", at, (gpu(0, 7, lag),)))


def test_an_alert_stands_is_recorded_and_is_over(tmp_path: Path) -> None:
    now = time.time() - 60
    with HistoryWriter(tmp_path / "history.db") as writer:
        live = LiveFeed(Pollers([]), writer, tmp_path / "history.db", [LATE])
        for step in range(6):
            poll(live, now + step, 1.6 + 0.1 * step)
        (alert,) = live.world().alerts
        assert alert.until is None
        assert alert.since == now
        assert alert.sentence == "late: 2.1 s, over 1.5 s"
        assert alert.spread == "min 1.6 s avg 1.85 s max 2.1 s"
        assert "1 alert" in fleet_page(live.world(), FleetView(), 120).text
        for step in range(6, 12):
            poll(live, now + step, 0.3)
        assert writer.flush()
        live.refresh()
        (alert,) = live.world().alerts
        assert alert.until == now + 6
        assert "lasted 6 s" in alerts_page(live.world(), 120).text
        live.close()
    with History.reading(tmp_path / "history.db") as history:
        (row,) = history.polls.alerts(0, time.time())
        assert row.ended_at == now + 6


def test_an_alert_that_somebody_else_left_open_is_not_the_present(tmp_path: Path) -> None:
    now = time.time() - 60
    with HistoryWriter(tmp_path / "history.db") as writer:
        first = LiveFeed(Pollers([]), writer, tmp_path / "history.db", [LATE])
        for step in range(6):
            poll(first, now + step, 2.0)
        assert writer.flush()
        first.close()
    second = LiveFeed(Pollers([]), None, tmp_path / "history.db", [LATE])
    second.refresh()
    assert second.world().alerts == ()
    second.close()


def test_plans_in_the_history_reach_the_gauge(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        history.plans.add(msgspec.structs.replace(PLAN, server="http://one"))
    live = LiveFeed(Pollers([]), None, tmp_path / "history.db")
    poll(live, time.time(), 0.4)
    live.refresh()
    assert "7/18" in fleet_page(live.world(), FleetView(), 120).text
    live.close()


def test_a_second_dashboard_on_one_history_says_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path, command="whisper-ops dash"), HistoryWriter(path) as second:
        live = LiveFeed(Pollers([]), second, path)
        poll(live, time.time(), 0.4)
        world = live.world()
        assert world.trouble is not None
        assert "▲" in fleet_page(world, FleetView(), 120).text
        assert "whisper-ops dash" in " ".join(fleet_page(world, FleetView(), 120).text.split())
        live.close()


def test_events_are_shown_at_once_and_recorded(tmp_path: Path) -> None:
    now = time.time() - 60
    with HistoryWriter(tmp_path / "history.db") as writer:
        live = LiveFeed(Pollers([]), writer, tmp_path / "history.db")
        poll(live, now, 0.4)
        live.take(silence("one", now + 1, "connection refused by 127.0.0.1:8000"))
        live.take(silence("one", now + 2, "connection refused by 127.0.0.1:8000"))
        poll(live, now + 31, 0.4)
        shown = [event.kind for event in live.world().events]
        assert shown == ["answers", "silent", "recorder_started"]
        assert "answers again after 30 s" in events_page(live.world(), 120).text
        assert "recording to" in events_page(live.world(), 120).text
        assert writer.flush()
        live.refresh()
        assert [event.kind for event in live.world().events if event.server == "one"] == ["answers", "silent"]
        live.close()


def test_what_changed_between_two_polls_is_an_event() -> None:
    seen = ChangeEvents()
    before = snapshot("one", 1000.0, (gpu(0, 7, 0.4),))
    assert seen.take(before) == []
    assert before.identity is not None
    after = snapshot("one", 1010.0, (gpu(0, 7, 0.4, restarts=1),), "draining", slots_per_gpu=18, started_at=NOW)
    changed = msgspec.structs.replace(after, identity=msgspec.structs.replace(before.identity, version="0.2.0"))
    events = {event.kind: event.detail for event in seen.take(changed)}
    assert set(events) == {"restart", "limit", "drain", "version", "worker"}
    assert events["limit"] == "max_connections_per_gpu 20 to 18"
    assert events["version"] == "0.1.0 to 0.2.0"
    assert seen.take(msgspec.structs.replace(changed, at=1011.0)) == []


def test_the_interval_reaches_every_poller() -> None:
    live = LiveFeed(Pollers([], interval=1.0), None, None)
    live.set_interval(5.0)
    assert live.fleet.interval == 5.0
    assert live.world().interval == 5.0


def test_the_own_cost_is_measured_over_a_window() -> None:
    clock = [0.0]
    cost = ProcessCost(lambda: clock[0], window_seconds=5.0)
    assert cost.cpu_ratio() is None
    clock[0] = 6.0
    ratio = cost.cpu_ratio()
    assert ratio is not None
    assert ratio >= 0
    assert cost.memory_bytes() > 1e6


@pytest.mark.parametrize("page", ["fleet", "alerts", "events"])
def test_an_empty_world_has_its_pages(page: str) -> None:
    world = LiveFeed(Pollers([]), None, None).world()
    text = {
        "fleet": fleet_page(world, FleetView(), 80).text,
        "alerts": alerts_page(world, 80).text,
        "events": events_page(world, 80).text,
    }[page]
    assert text.strip()


def test_a_replica_that_is_gone_for_good_leaves_the_screen_and_its_alerts_end(tmp_path: Path) -> None:
    now = time.time() - 60
    with HistoryWriter(tmp_path / "history.db") as writer:
        live = LiveFeed(Pollers([]), writer, tmp_path / "history.db", [LATE])
        for step in range(6):
            poll(live, now + step, 2.0)
        assert live.world().alerts[0].until is None
        live.forget("one")
        world = live.world()
        assert world.servers == ()
        assert world.alerts[0].until == now + 5
        assert "its DNS name no longer leads to it" in events_page(world, 120).text
        live.close()
    with History.reading(tmp_path / "history.db") as history:
        (row,) = history.polls.alerts(0, time.time())
        assert row.ended_at == now + 5


def test_a_gpu_that_failed_and_works_again_is_an_event_once() -> None:
    seen = ChangeEvents()
    states = ("ready", "failed", "failed", "ready", "ready")
    told = [
        event.detail
        for at, state in enumerate(states)
        for event in seen.take(snapshot("one", 1000.0 + at, (gpu(0, 7, 0.4), gpu(1, 0, None, state=state))))
    ]
    assert told == ["GPU 1 failed", "GPU 1 is ready again"]


FAILED = AlertRule(name="gpu failed", figure="gpu_failed", over=0, hold_seconds=0)
SILENT = AlertRule(name="server silent", figure="silent_seconds", over=5, clear=0, hold_seconds=0, clear_seconds=0)


def watched(path: Path, polls: list[Snapshot]) -> list[tuple[str, float]]:
    """One run of the dashboard over these polls: which alerts stand at its end, and since when."""
    with HistoryWriter(path) as writer:
        live = LiveFeed(Pollers([]), writer, path, [FAILED, SILENT, LATE])
        for each in polls:
            live.take(each)
        assert writer.flush()
        live.refresh()
        standing = [(alert.rule, alert.since) for alert in live.world().alerts if alert.until is None]
        live.close()
    return standing


def test_an_alert_that_still_stands_after_a_restart_keeps_its_first_time(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", time.time() - 300
    broken = (gpu(0, 7, 2.0), gpu(1, 0, None, state="failed"))
    before = watched(path, [snapshot("one", now + step, broken) for step in range(10)])
    assert dict(before) == {"gpu failed": now, "late": now}
    assert sorted(watched(path, [snapshot("one", now + 60, broken)])) == sorted(before), "with the first poll"
    (_, lasting) = (watched(path, []), watched(path, [snapshot("one", now + 70, (gpu(0, 7, 0.3), broken[1]))]))
    assert lasting == [("gpu failed", now)], "what is over by now is not taken up"
    with History.reading(path) as history:
        rows = {alert.rule: alert for alert in history.polls.alerts(0, time.time())}
        assert len(history.polls.alerts(0, time.time())) == 2, "one row an alert"
    assert rows["gpu failed"].ended_at is None
    assert rows["late"].ended_at == now + 60


def test_a_server_that_is_still_silent_after_a_restart_is_so_since_the_first_time(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", time.time() - 300
    up = snapshot("one", now, (gpu(0, 7, 0.3),))
    before = watched(path, [up, *(silence("one", now + step) for step in range(1, 10))])
    assert before == [("server silent", now + 7)]
    assert watched(path, [silence("one", now + 60)]) == before
    assert watched(path, [snapshot("one", now + 70, up.gpus)]) == []


def test_an_alert_of_long_ago_is_not_the_one_of_now(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", time.time()
    broken = (gpu(0, 7, 0.3), gpu(1, 0, None, state="failed"))
    assert watched(path, [snapshot("one", now - 7200, broken)]) == [("gpu failed", now - 7200)]
    assert watched(path, [snapshot("one", now, broken)]) == [("gpu failed", now)]
