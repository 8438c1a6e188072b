"""Alerts begin after their hold time, end with hysteresis, and every mistake in a file of rules is named by line."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dashboard.alerts import AlertBook, AlertRule, load_rules
from dashboard.alerts.rule_families import highest
from dashboard.alerts.rule_figures import WARM_UP_SECONDS
from dashboard.fleet_state import FleetState
from dashboard.history.history_notes import alert_view
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.world import AlertView
from whisper_ops.errors import UserError
from whisper_ops.identity import Identity
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot


def poll(at: float, *gpus: GpuFigures, host: HostFigures | None = None, **figures: Any) -> Snapshot:
    return Snapshot(
        server="one",
        at=at,
        identity=Identity(software="whisper-ops"),
        figures=ServerFigures(**figures),
        gpus=gpus,
        host=host,
    )


def silent(at: float) -> Snapshot:
    return Snapshot(server="one", at=at, state="silent", error="gone")


def told(book: AlertBook, *snapshots: Snapshot) -> list[tuple[float, str, str]]:
    """When, what and which rule, for each change."""
    return [(snapshot.at, change.kind, change.alert.rule) for snapshot in snapshots for change in book.take(snapshot)]


def only(name: str) -> AlertBook:
    """A book with one shipped rule."""
    (rule,) = [rule for rule in load_rules() if rule.name == name]
    return AlertBook([rule])


def lags(*values: float | None, start: float = 0.0) -> list[Snapshot]:
    return [poll(start + at, lag_p95_seconds=value) for at, value in enumerate(values)]


RULE = AlertRule(name="lag", figure="server.lag_p95_seconds", over=2, clear=1.5, hold_seconds=3, clear_seconds=2)


def test_it_begins_after_its_hold_time_with_the_moment_it_really_began() -> None:
    book = AlertBook([RULE])
    changes = [change for snapshot in lags(1, 2.5, 3, 4, 5, 6) for change in book.take(snapshot)]
    ((kind, alert),) = [(change.kind, change.alert) for change in changes]
    assert (kind, alert.since, alert.until, alert.value) == ("started", 1.0, None, 5.0)
    assert alert.sentence == "one: lag: 5 s, over 2 s"
    (active,) = book.active
    assert (active.minimum, active.mean, active.maximum, active.value) == (2.5, 4.1, 6.0, 6.0)


def test_a_break_starts_the_hold_time_again() -> None:
    assert told(AlertBook([RULE]), *lags(3, 3, 3, 1, 3, 3, 3, 1)) == []


def test_between_clear_and_limit_nothing_begins_and_nothing_ends() -> None:
    book = AlertBook([RULE])
    assert told(book, *lags(*[1.9] * 20)) == []
    assert told(book, *lags(*[3.0] * 5, *[1.9] * 20, start=100)) == [(103.0, "started", "lag")]
    # Back below `clear`, but not for clear_seconds.
    assert told(book, *lags(1, 1.9, 1, 1.9, start=200)) == []
    ended = told(book, *lags(1, 1, 1, 1, start=300))
    assert ended == [(302.0, "ended", "lag")]
    (past,) = book.ended
    assert (past.since, past.until) == (100.0, 300.0)
    assert book.active == []


def test_what_is_unknown_neither_begins_nor_ends_by_silence_but_ends_when_it_is_gone() -> None:
    book = AlertBook([RULE])
    assert told(book, *lags(None, None, 3, 3, 3, 3)) == [(5.0, "started", "lag")]
    assert told(book, *[silent(10.0 + at) for at in range(20)]) == []
    assert told(book, *lags(None, None, None, start=50)) == [(52.0, "ended", "lag")]


def test_polls_out_of_order_are_passed_over() -> None:
    book = AlertBook([RULE])
    assert told(book, *lags(3, 3, 3, start=10), *lags(3, 3, 3)) == []


def test_a_silent_server_is_told_and_told_again_when_it_is_back() -> None:
    book = only("server silent")
    changes = told(book, poll(0), *[silent(float(at)) for at in range(1, 10)], poll(10), poll(11))
    assert changes == [(7.0, "started", "server silent"), (10.0, "ended", "server silent")]


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("slots over 70 %", poll(0, slots=10, slots_used=8), poll(0, slots=10, slots_used=6)),
        ("slots over 90 %", poll(0, slots=100, slots_used=91), poll(0, slots=100, slots_used=80)),
        ("lag over the objective", poll(0, lag_p95_seconds=1.1), poll(0, lag_p95_seconds=0.8)),
        ("gpu failed", poll(0, GpuFigures(gpu_id=3, state="failed")), poll(0, GpuFigures(gpu_id=3, state="ready"))),
        (
            "uneven spread",
            poll(0, GpuFigures(gpu_id=0, streams_active=5), GpuFigures(gpu_id=1, streams_active=2)),
            poll(0, GpuFigures(gpu_id=0, streams_active=4), GpuFigures(gpu_id=1, streams_active=3)),
        ),
        (
            "speaking without text",
            poll(0, streams_speaking=2),
            poll(0, streams_speaking=2, partial_interval_seconds=1.0),
        ),
        (
            "gpu throttled",
            poll(0, GpuFigures(gpu_id=0, throttle_reasons="hw_thermal")),
            poll(0, GpuFigures(gpu_id=0, throttle_reasons="applications_clocks")),
        ),
    ],
)
def test_each_shipped_rule_begins_and_ends(rule: str, bad: Snapshot, good: Snapshot) -> None:
    def at(snapshot: Snapshot, when: float) -> Snapshot:
        return Snapshot(server="one", at=when, identity=snapshot.identity, figures=snapshot.figures, gpus=snapshot.gpus)

    book = only(rule)
    assert told(book, *[at(good, float(when)) for when in range(100)]) == []
    changes = told(book, *[at(bad, float(when)) for when in range(100, 200)], *[at(good, 200.0 + x) for x in range(20)])
    assert [(kind, name) for _, kind, name in changes] == [("started", rule), ("ended", rule)]


def memory(at: float, gigabytes: float, total: float, name: str | None = None) -> Snapshot:
    return poll(at, GpuFigures(gpu_id=3, name=name, memory_used_bytes=gigabytes * 1e9, memory_total_bytes=total * 1e9))


def test_the_lag_alert_watches_what_a_screen_judges_by_and_the_default_objective_allows() -> None:
    rule = next(rule for rule in load_rules() if rule.name == "lag over the objective")
    assert rule.over == FleetState().world(0.0).objective_seconds == parse(DEFAULT).most_lag
    for_prometheus = (Path(__file__).parents[3] / "deploy/prometheus/whisper-ops.rules.yml").read_text("utf-8")
    assert f"(rate(whisper_ops_lag_seconds_bucket[1m]))) > {rule.over:g}\n" in for_prometheus
    assert f"over the objective of {rule.over:g} s" in for_prometheus


@pytest.mark.parametrize(
    ("gigabytes", "total", "rule", "sentence"),
    [
        (73, 80, "gpu memory over 90 %", "one GPU 3: gpu memory over 90 %: 91.2 %"),
        (14.5, 16, "gpu memory free under 2 GB", "one GPU 3: gpu memory free under 2 GB: 1.5 GB"),
    ],
)
def test_a_gpu_without_room_is_told(gigabytes: float, total: float, rule: str, sentence: str) -> None:
    book = only(rule)
    changes = [change for at in range(60) for change in book.take(memory(at, gigabytes, total))]
    assert [(change.kind, change.alert.sentence) for change in changes] == [("started", sentence)]
    assert told(book, *(memory(at, 5, total) for at in range(60, 90))) == [(70.0, "ended", rule)]
    # A machine's memory is everybody's.
    assert told(only(rule), *(memory(at, gigabytes, total, "CPU") for at in range(60))) == []
    assert told(only(rule), *(poll(at, GpuFigures(gpu_id=3)) for at in range(60))) == []


@pytest.mark.parametrize("gpu", [True, False])
def test_memory_that_stays_after_disconnects_is_told_and_memory_that_came_with_streams_is_not(gpu: bool) -> None:
    rule = "gpu memory grows after disconnects" if gpu else "host memory grows after disconnects"

    def used(at: float, memory: float, streams: int, started_at: float = 1.0) -> Snapshot:
        gpus = [GpuFigures(gpu_id=0, memory_used_bytes=memory, streams_active=streams)] if gpu else []
        host = None if gpu else HostFigures(process_rss_bytes=memory)
        return poll(at, *gpus, host=host, streams_active=streams, started_at=started_at)

    book, warm = only(rule), WARM_UP_SECONDS
    rising = [used(at * 10.0, 100 + at, 4) for at in range(int(warm / 10) + 1)]
    more = [used(warm + 100 + at * 10, 300, 8) for at in range(20)]
    fewer = [used(warm + 1000 + at * 10, 310, 2) for at in range(20)]  # 3 % above: within the tolerance
    assert told(book, *rising, *more, *fewer) == []
    assert told(book, *[used(warm + 2000 + at * 10, 320, 2) for at in range(20)]) == [(warm + 2060, "started", rule)]
    # Another process of the server starts with nothing known.
    assert [kind for _, kind, _ in told(book, *[used(9000.0 + at * 10, 900, 2, 2.0) for at in range(5)])] == ["ended"]


def test_slow_set_ups_are_those_since_the_poll_before() -> None:
    book = only("slow set-up")
    fast = [poll(float(at), accepted_total=1000, setup_mean_seconds=0.1) for at in range(5)]
    # Ten connections of 9 s each hardly move the mean of a thousand.
    slow = [
        poll(float(at), accepted_total=1000 + at, setup_mean_seconds=(100 + at * 9) / (1000 + at))
        for at in range(5, 20)
    ]
    quiet = [poll(float(at), accepted_total=1019, setup_mean_seconds=271 / 1019) for at in range(20, 40)]
    assert [kind for _, kind, _ in told(book, *fast, *slow, *quiet)] == ["started", "ended"]


def test_a_rule_of_ones_own_over_any_figure(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[alert."too hot"]\nfigure = "gpu.temperature_celsius"\nover = 85\nhold_seconds = 0\n'
        '[alert."few free descriptors"]\nfigure = "host.open_descriptors"\nunder = 5\nhold_seconds = 0\n'
        '[alert."uneven spread"]\nenabled = false\n'
        '[alert."lag over the objective"]\nfigure = "server.lag_p95_seconds"\nover = 1\n'
    )
    rules = {rule.name: rule for rule in load_rules(path)}
    assert "uneven spread" not in rules
    assert rules["lag over the objective"].over == 1
    assert "slots over 70 %" in rules
    book = AlertBook([rules["too hot"], rules["few free descriptors"]])
    hot = poll(1, GpuFigures(gpu_id=2, temperature_celsius=90), host=HostFigures(open_descriptors=3))
    assert [change.alert.sentence for change in book.take(hot)] == [
        "one GPU 2: too hot: 90 °C, over 85 °C",
        "one: few free descriptors: 3 descriptors, under 5 descriptors",
    ]


GOOD = '# mine\n[alert."mine"]\nfigure = "slots_ratio"\nover = 0.5\nclear = 0.4\n'


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("slots_ratio", "slot_ratio", r"rules.toml, line 3: there is no figure slot_ratio; there are gpu_failed, "),
        ("slots_ratio", "gpu.name", r"line 3: there is no figure gpu.name"),
        ("over = 0.5\n", "", r"line 2: \[alert.\"mine\"\] needs over or under"),
        ("over", "ovr", r"line 4: .*unknown field `ovr`"),
        ("0.5", '"much"', r"line 4: Expected `float \| null`, got `str`"),
        ("clear = 0.4", "clear = 0.6", r"line 5: clear = 0.6 is past the limit 0.5"),
        ("[alert.", "[alarm.", r"there is no \[alarm\] in a file of rules"),
        ("over =", "over", r"no valid TOML: .*line 4"),
        ("clear = 0.4", 'severity = "bad"', r"line 5: Invalid enum value 'bad'"),
    ],
)
def test_mistakes_in_rules_are_named_by_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError, match=sentence) as caught:
        load_rules(path)
    assert caught.value.code == 2


def test_a_server_that_is_polled_no_more_is_forgotten() -> None:
    book = AlertBook([RULE])
    told(book, *lags(3, 3, 3, 3, 3))
    (ended,) = book.forget("one")
    assert ended.until == 4.0, "with its last poll"
    assert book.active == []
    assert told(book, *lags(3, 3, 3, 3, start=10)) == [(13.0, "started", "lag")]


def test_a_silent_server_is_told_in_words_and_not_in_minima_of_a_time_that_only_grows() -> None:
    book = only("server silent")
    told(book, poll(0), *[silent(float(at)) for at in range(1, 72)])
    (alert,) = book.active
    assert alert.sentence == "one: no answer for 1 m 10 s"
    assert (alert_view(alert).sentence, alert_view(alert).spread) == ("no answer for 1 m 10 s", "")
    fed = FleetState()
    fed.alerts = (msgspec.structs.replace(alert_view(alert), server="127.0.0.1:8199"),)
    fed.take(poll(72))
    assert "127.0.0.1:8199  no answer for 1 m 10 s" in fleet_page(fed.world(72), FleetView(), 59).text


def test_a_limit_that_is_in_the_name_of_a_rule_is_said_once() -> None:
    book = only("slots over 90 %")
    told(book, *[poll(float(at), slots=100, slots_used=96) for at in range(20)])
    assert book.active[0].sentence == "one: slots over 90 %: 96 %"


def test_of_two_limits_of_one_figure_only_the_higher_is_shown() -> None:
    rules = load_rules()
    live = LiveFeed(Pollers([]), None, None, rules)

    def shown(slots_used: int, begin: int) -> list[tuple[str, bool]]:
        for at in range(begin, begin + 60):
            live.take(poll(float(at), slots=100, slots_used=slots_used))
        return [(alert.rule, alert.until is None) for alert in live.world().alerts]

    assert shown(80, 0) == [("slots over 70 %", True)]
    assert shown(100, 60) == [("slots over 90 %", True)]
    assert shown(80, 120) == [("slots over 70 %", True), ("slots over 90 %", False)], "back to the lower one"


def test_alerts_of_other_figures_places_and_rules_have_their_own_lines() -> None:
    rules = [RULE, msgspec.structs.replace(RULE, name="worse", over=9.0, clear=8.0)]
    seen = AlertView(server="a", rule=RULE.name, severity="warn", since=0.0, sentence="late")
    others = [
        msgspec.structs.replace(seen, server="b", rule="worse"),
        msgspec.structs.replace(seen, gpu_id=1, rule="worse"),
        msgspec.structs.replace(seen, rule="unknown here"),
        msgspec.structs.replace(seen, rule="worse", until=5.0),
    ]
    assert highest([seen, *others], rules) == [seen, *others]
    assert highest([seen, msgspec.structs.replace(seen, rule="worse")], rules)[0].rule == "worse"
