"""The fleet page: what an operator reads there."""

import msgspec
import pytest

from dashboard.fleet_state import FleetState
from dashboard.planned_limits import objective_seconds, planned_limit_of
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from tests.dashboard.scenes import IDENTITY, NOW, board, gpu, plan_of, silence, snapshot, world
from whisper_ops.objective import DEFAULT_LAG_SECONDS
from whisper_ops.snapshot import Snapshot


def rows(width: int = 119, height: int = 60, **view: object) -> list[str]:
    page = fleet_page(world(), FleetView(**view), width, height)  # type: ignore[arg-type]
    return page.text.splitlines()


def row(name: str, lines: list[str]) -> str:
    return next(line for line in lines if name in line)


def test_the_answer_comes_first() -> None:
    first = rows()[0]
    assert "speaking 111 / connected 149" in first
    assert "safe limit 216" in first
    assert "worst lag p95 1.71 s of 2 s" in first
    assert "2 alerts" in first


def test_the_worst_server_is_on_top() -> None:
    names = [line.split()[1] for line in rows(expand="closed") if line[1:2] in "✕▲●" and "asr-" in line[:15]]
    assert names == ["asr-ams-02", "asr-fra-02", "asr-ams-01", "asr-fra-01"]


def test_state_is_glyph_and_word() -> None:
    assert "▲ asr-fra-02" in row("asr-fra-02", rows())
    assert "degraded" in row("asr-fra-02", rows())


def test_a_silent_server_shows_why_and_no_old_figures() -> None:
    lines = rows()
    its = row("asr-ams-02", lines)
    assert "silent" in its
    assert "1 m 20 s" in its, "the age of its last answer"
    assert "36" not in its, "figures of the past are not shown as the present"
    reason = lines[lines.index(its) + 1]
    assert "connection refused by 10.0.3.7:8000, since 14:02:17" in reason
    assert "next try in 4 s" in reason
    assert "last seen healthy with 36 connections" in reason


def test_the_gauge_compares_with_the_plan() -> None:
    assert "71/72" in row("asr-fra-02", rows())


def test_without_a_plan_it_says_so() -> None:
    fed = FleetState()
    fed.take(snapshot("one", NOW, (gpu(0, 7, 0.4),)))
    text = fleet_page(fed.world(NOW), FleetView(), 119).text
    assert "no measured limit: type :sweep" in text
    assert "7/20" in text


def test_a_provisional_limit_is_marked() -> None:
    fed = board()
    fed.plans = (plan_of(provisional=True),)
    assert "71/~72" in fleet_page(fed.world(NOW), FleetView(), 119).text


@pytest.mark.parametrize("width", [59, 79, 119, 160])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    for line in rows(width, expand="open"):
        assert len(line) <= width, line


def test_gpus_unfold_where_there_is_room_and_on_request() -> None:
    assert any("gpu 3" in line for line in rows(height=60))
    assert not any("└ gpu 3" in line for line in rows(height=20))
    assert any("└ gpu 3" in line for line in rows(height=20, toggled=frozenset({"asr-fra-02"})))


def test_a_filter_keeps_what_meets_it() -> None:
    lines = rows(filter="lag>1 & gpu~h100", expand="closed")
    assert row("asr-fra-02", lines)
    assert not any("● asr-fra-01" in line for line in lines)


def test_a_filter_on_gpus_keeps_only_those_gpus() -> None:
    gpus = [line for line in rows(filter="busy>95", expand="open") if "└" in line]
    assert [line.split()[2] for line in gpus] == ["3"]


def test_a_filter_that_nothing_meets_says_so() -> None:
    assert any("no server meets the filter" in line for line in rows(filter="lag>100"))


@pytest.mark.parametrize(
    ("sort", "first"),
    [("lag", "asr-fra-02"), ("server", "asr-ams-01"), ("slots", "asr-fra-02"), ("temp", "asr-fra-02")],
)
def test_sorting_by_a_fact(sort: str, first: str) -> None:
    names = [line for line in rows(sort=sort, expand="closed") if line[3:7] == "asr-"]
    assert first in names[0]
    if sort != "server":
        assert "asr-ams-02" in names[-1], "what is unknown comes last"


def test_a_simulated_server_says_so_even_where_it_is_narrow() -> None:
    polled = snapshot("sim-with-a-rather-long-name.example", NOW, (gpu(0, 7, 0.4),))
    assert polled.identity is not None
    fed = FleetState()
    fed.take(msgspec.structs.replace(polled, identity=msgspec.structs.replace(polled.identity, simulated=True)))
    for width in (59, 79, 119, 200):
        assert " sim" in fleet_page(fed.world(NOW), FleetView(), width).text


def test_an_old_answer_is_stale() -> None:
    fed = FleetState()
    fed.take(snapshot("one", NOW - 30, (gpu(0, 7, 0.4),)))
    text = fleet_page(fed.world(NOW), FleetView(), 119).text
    assert "◌ one" in text
    assert "stale" in text
    assert "30 s" in text


def test_before_the_first_poll_nothing_is_claimed() -> None:
    text = fleet_page(FleetState(["one"]).world(NOW), FleetView(), 119).text
    assert "waiting for the first answer from one" in text
    assert "speaking — / connected —" in text


def test_silence_is_dated_from_its_first_poll() -> None:
    fed = FleetState()
    for at in (NOW - 20, NOW - 10, NOW):
        fed.take(silence("one", at))
    assert fed.world(NOW).servers[0].silent_since == NOW - 20


def test_a_plan_for_other_hardware_is_no_plan() -> None:
    polled = snapshot("asr-fra-01", NOW, (gpu(0, 7, 0.4),))
    assert planned_limit_of(polled, (plan_of(),)) is not None
    assert planned_limit_of(polled, (plan_of(gpu_name="NVIDIA L4"),)) is None
    assert planned_limit_of(polled, (plan_of(model="tiny.en"),)) is None


def test_the_own_plan_of_a_server_wins_over_a_newer_one_of_another() -> None:
    polled = snapshot("asr-fra-01", NOW, (gpu(0, 7, 0.4), gpu(1, 7, 0.4)))
    other = plan_of(server="elsewhere", created_at=NOW, max_connections_per_gpu=5)
    knee = planned_limit_of(polled, (plan_of(), other))
    assert knee is not None
    assert knee.safe == 36, "over both of its GPUs"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("stable_p95_seconds<=2,first_p95_seconds<=1", 1.0),
        ("lag_p95<=3s,first_p95<=1s", 3.0),
        ("stable_p95_seconds<=1.5", 1.5),
        ("whatever", DEFAULT_LAG_SECONDS),
    ],
)
def test_the_objective_is_read_from_the_plan(said: str, seconds: float) -> None:
    assert objective_seconds(said) == seconds


@pytest.mark.parametrize("width", [59, 79, 119])
@pytest.mark.parametrize(
    ("streams", "left"), [(0, "none is left"), (1, "the 1 there goes on"), (7, "the 7 there go on")]
)
def test_a_server_that_drains_says_what_that_means(width: int, streams: int, left: str) -> None:
    fed = FleetState()
    fed.take(snapshot("one", NOW, (gpu(0, streams, 0.4), gpu(1, 0, None, state="failed")), "draining"))
    lines = fleet_page(fed.world(NOW), FleetView(), width).text.splitlines()
    its = lines.index(row("▽ one", lines))
    said = " ".join(" ".join(lines[its + 1 : its + 4]).split())
    assert f"it drains: no new stream is let in, {left}; :undrain ends that; GPU 1 failed" in said


def named_rows(*names: str, width: int = 79, simulated: bool = True) -> str:
    fed = FleetState()
    for name in names:
        made = snapshot(name, NOW, (gpu(0, 7, 0.4),))
        fed.take(msgspec.structs.replace(made, identity=msgspec.structs.replace(IDENTITY, simulated=simulated)))
    return fleet_page(fed.world(NOW), FleetView(expand="closed"), width).text


@pytest.mark.parametrize("width", [59, 69, 79, 99, 119, 199])
@pytest.mark.parametrize("name", ["127.0.0.1:18931", "10.0.30.17:18101", "asr-fra-1.example:80"])
def test_a_server_has_one_name_and_that_whole_columns_leave_for_it(width: int, name: str) -> None:
    lines = named_rows("other", name, width=width).splitlines()
    assert any(f"● {name} sim" in line for line in lines), lines
    assert all(len(line) <= width for line in lines)
    assert any("lag p95" in line and "slots" in line for line in lines), "what matters most stays"


def test_a_name_beyond_all_room_keeps_its_port_and_its_ends() -> None:
    text = named_rows(f"asr-{'x' * 60}-7c9f.example:8000", "two")
    assert "asr-x" in text
    assert "example:8000 sim" in text


def test_the_servers_with_a_plan_are_counted_among_all_that_are_shown() -> None:
    fed = FleetState()
    fed.plans = (plan_of(),)
    fed.take(snapshot("planned", NOW, (gpu(0, 7, 0.4),)))
    other = snapshot("other", NOW, (gpu(0, 7, 0.4),))
    fed.take(msgspec.structs.replace(other, identity=msgspec.structs.replace(IDENTITY, model="small")))
    fed.take(silence("gone", NOW))
    assert "safe limit 18 on 1 of 3 servers" in fleet_page(fed.world(NOW), FleetView(), 119).text


def judged(said: Snapshot, *, plan: bool = False, others: tuple[Snapshot, ...] = (), now: float = NOW) -> list[str]:
    fed = FleetState()
    fed.plans = (plan_of(),) if plan else ()
    for poll in (*others, said):
        fed.take(poll)
    return fleet_page(fed.world(now), FleetView(expand="closed"), 119).text.splitlines()


@pytest.mark.parametrize("status", ["healthy", "degraded", "draining", "starting"])
def test_a_server_over_its_objective_is_late_whatever_it_says_of_itself(status: str) -> None:
    lines = judged(
        snapshot("slow", NOW, (gpu(0, 7, 10.0),), status), others=(snapshot("calm", NOW, (gpu(0, 1, 0.4),)),)
    )
    its = row("slow", lines)
    assert "▲ slow" in its
    assert "late" in its
    assert "healthy" not in its
    assert "lag p95 10.0 s, the objective is 1 s" in lines[lines.index(its) + 1]
    assert lines.index(its) < lines.index(row("calm", lines)), "it is sorted up"


def test_a_server_over_its_planned_limit_says_by_how_much_though_nobody_waits_yet() -> None:
    """18 a GPU were planned."""
    lines = judged(snapshot("asr-fra-01", NOW, (gpu(0, 19, 0.4),)), plan=True)
    its = row("asr-fra-01", lines)
    assert "overfull" in its
    assert "19 connections, over the planned limit of 18" in lines[lines.index(its) + 1]
    at_it = judged(snapshot("asr-fra-01", NOW, (gpu(0, 18, 0.4),)), plan=True)
    assert "healthy" in row("asr-fra-01", at_it)


def test_late_and_over_its_limit_is_both_in_one_sentence_and_critical_stays_critical() -> None:
    lines = judged(snapshot("asr-fra-01", NOW, (gpu(0, 20, 3.0),), "critical"), plan=True)
    its = row("asr-fra-01", lines)
    assert "critical" in its
    under = lines[lines.index(its) + 1]
    assert "lag p95 3.00 s, the objective is 2 s; 20 connections, over the planned limit of 18" in under


def test_a_lag_at_its_objective_is_in_time() -> None:
    assert "healthy" in row("just", judged(snapshot("just", NOW, (gpu(0, 7, DEFAULT_LAG_SECONDS),))))


def test_of_an_old_answer_nobody_says_that_users_wait_now() -> None:
    lines = judged(snapshot("gone", NOW - 60, (gpu(0, 7, 10.0),)))
    assert "stale" in row("gone", lines)
    assert "words are late" not in "\n".join(lines)


def test_a_gpu_over_the_objective_is_late_beside_one_that_is_ready() -> None:
    fed = FleetState()
    fed.take(snapshot("one", NOW, (gpu(0, 7, 10.0), gpu(1, 7, 0.4))))
    lines = fleet_page(fed.world(NOW), FleetView(expand="open"), 119).text.splitlines()
    assert "late" in row("gpu 0", lines)
    assert "ready" in row("gpu 1", lines)
