"""The plan screen: over a plan that the real planner made and stored, and over made-up ones."""

import json
import time
from pathlib import Path

import msgspec
import pytest

from dashboard.fleet_state import FleetState
from dashboard.history.history_notes import HistoryNotes
from dashboard.tui.pages.plan_page import plan_page
from dashboard.world import World
from tests.capacity.plan_history import level, written
from tests.dashboard.scenes import IDENTITY, NOW, PLAN, gpu, plan_of, silence, snapshot, world
from tests.support.servers import whisper_ops
from whisper_ops.history import History, PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS
from whisper_ops.plan.plan_records import _decoded, read
from whisper_ops.plan.resource_kinds import HOST_MEMORY, LATENCY
from whisper_ops.snapshot import HostFigures


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> PlanRecord:
    path = tmp_path_factory.mktemp("plan") / "history.db"
    levels = [
        level(
            streams,
            streams <= 80,
            stable_p95_seconds=0.2 + 0.00025 * streams**2 if streams <= 80 else 2.6,
            server_busy_ratio=streams / 100,
            gpu_memory_used_bytes=12e9 + 0.168e9 * streams,
            streams_per_gpu=float(streams),
            front_cpu_ratio=0.04 + 0.007 * streams,
        )
        for streams in (10, 20, 30, 40, 50, 60, 70, 80, 88, 96)
    ]
    written(path, levels)
    done = whisper_ops("plan", "--history", str(path))
    assert done.returncode == 0, done.stderr
    with History.reading(path) as history:
        return history.plans.every()[-1]


def looked_at(plan: PlanRecord, streams: int) -> World:
    now = time.time()
    keys = {name: getattr(plan, name) for name in IDENTITY_FIELDS}
    polled = snapshot("asr-1:8000", now, (gpu(0, streams, 0.62),))
    board = FleetState()
    board.plans = (read(plan),)
    board.take(msgspec.structs.replace(polled, identity=msgspec.structs.replace(IDENTITY, **keys)))
    return board.world(now)


def test_a_plan_of_the_planner_is_shown_whole(planned: PlanRecord) -> None:
    text = plan_page(looked_at(planned, 41), None, 140).text
    assert "Run at most 72 connections per GPU." in text
    assert "Why: p95 stable word latency" in text
    assert "Next limit: GPU busy, at " in text
    assert "conservative 40 · moderate 56 · aggressive 72 · extreme 88" in text
    assert "80–88" in text
    assert "Next: measure 84 streams for 5 min" in text


def test_expected_stands_beside_seen(planned: PlanRecord) -> None:
    lines = plan_page(looked_at(planned, 41), None, 140).text.splitlines()
    memory = next(line for line in lines if "GPU memory" in line)
    assert "19.3 GB" in memory, "what is seen"
    assert "18.9 GB" in memory, "what the law expects at 41 connections"
    busy = next(line for line in lines if "   GPU busy" in line)
    assert "41.0 %" in busy


def test_a_lost_server_and_where_its_connections_go() -> None:
    text = plan_page(world(), "asr-fra-02", 119).text
    assert "it is lost already" in text
    assert "▲ 5 find no room" in text
    assert "with the largest of them lost it carries 144" in text


def test_where_there_is_room_it_says_how_much() -> None:
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    board.take(snapshot("b", NOW, (gpu(0, 3, 0.3),)))
    assert "● fits, 13 to spare" in plan_page(board.world(NOW), None, 119).text


@pytest.mark.parametrize(("streams", "style"), [(0, "dim"), (2, "bad")])
def test_where_there_is_one_server_its_loss_leaves_none(streams: int, style: str) -> None:
    """It said "fits, 0 to spare", and that the fleet then carries 0."""
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW, (gpu(0, streams, 0.3),)))
    page = plan_page(board.world(NOW), None, 119)
    assert "fits" not in page.text
    assert "largest of them lost" not in page.text
    assert [span.style for line in page.body for span in line.spans if "no other server" in span.text] == [style]


def test_where_the_others_have_no_limit_nobody_knows_whether_it_fits() -> None:
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    other = snapshot("b", NOW, (gpu(0, 2, 0.3),))
    board.take(msgspec.structs.replace(other, identity=msgspec.structs.replace(IDENTITY, model="small")))
    assert "— others have no limit" in plan_page(board.world(NOW), None, 119).text


def test_a_provisional_plan_is_no_promise() -> None:
    board = FleetState()
    board.plans = (plan_of(provisional=True),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    assert "Run at most 18 connections per GPU (provisional)." in plan_page(board.world(NOW), None, 119).text


def test_without_a_plan_it_says_how_to_get_one() -> None:
    text = plan_page(FleetState().world(NOW), None, 80).text
    assert "no measured limit" in text
    assert "whisper-ops sweep URL" in text
    assert "whisper-ops plan" in text


def test_a_silent_server_has_no_figures_of_now() -> None:
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW - 10, (gpu(0, 2, 0.3),)))
    board.take(silence("a", NOW))
    lines = plan_page(board.world(NOW), "a", 119).text.splitlines()
    objective = next(line for line in lines if "latency objective" in line and "◀" in line)
    assert objective.count("—") == 2, "neither seen nor expected"


def test_what_is_seen_of_a_resource_is_what_its_law_is_of() -> None:
    kinds = [{"kind": kind, "unit": unit, "law": "law"} for kind, unit in ((HOST_MEMORY, "GB"), (LATENCY, "s"))]
    board = FleetState()
    board.plans = (plan_of(body=json.dumps({"resources": kinds})),)
    host = HostFigures(memory_total_bytes=64 * 10**9, memory_available_bytes=4 * 10**9, process_rss_bytes=5 * 10**8)
    board.take(msgspec.structs.replace(snapshot("a", NOW, (gpu(0, 2, 0.3),)), host=host))
    lines = plan_page(board.world(NOW), "a", 119).text.splitlines()
    memory, latency = (next(line for line in lines if name in line) for name in ("host memory", "latency objective"))
    assert "0.5 GB" in memory, "the server's own, as in a level, and not all that the machine uses"
    assert "60" not in memory
    assert "lag 0.3" in latency, "a word's latency is seen by a load test only"


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"resources": 3}', "not json"])
def test_a_plan_of_another_version_still_says_its_limit(body: str) -> None:
    assert plan_of(body=body).resources == ()
    board = FleetState()
    board.plans = (plan_of(body=body),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    assert "Run at most 18 connections per GPU" in plan_page(board.world(NOW), None, 119).text


@pytest.mark.parametrize("width", [59, 79, 119])
def test_a_server_without_a_plan_says_so_before_the_plan_of_another(width: int) -> None:
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    other = snapshot("b", NOW, (gpu(0, 2, 0.3),))
    board.take(msgspec.structs.replace(other, identity=msgspec.structs.replace(IDENTITY, model="small")))
    text = " ".join(plan_page(board.world(NOW), "b", width).text.split())
    assert text.startswith("b has no plan: none was made for what it runs. This is the plan of a: Run at most 18")
    assert "has no plan" not in plan_page(board.world(NOW), "a", width).text
    assert "has no plan" not in plan_page(board.world(NOW), None, width).text


@pytest.mark.parametrize(
    ("before", "now"), [(1.0, "2 days"), (2 * 86400.0, "4 days"), (86000.0, "2 days"), (86400.0, "3 days")]
)
def test_the_age_of_the_newest_level_is_its_age_now_and_not_when_the_plan_was_made(before: float, now: str) -> None:
    levels = [{"streams": 18, "repeats": 9, "passes": 9, "audit": "valid", "chance": 0.99}]
    body = {"newest_evidence_at": PLAN.created_at - before, "levels": levels, "capacity": {"status": "identified"}}
    board = FleetState()
    board.plans = (plan_of(body=msgspec.json.encode(body | {"sure": "newest 1 second old"}).decode()),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    text = plan_page(board.world(NOW), None, 119).text
    assert "2 d 0 h ago" in text
    assert (
        f"Confidence: both ends measured (9 valid levels, newest {now} ago). Probability of passing: 18 streams 99 %"
        in text
    )


def test_a_plan_that_kept_only_words_keeps_them() -> None:
    board = FleetState()
    board.plans = (plan_of(body=msgspec.json.encode({"sure": "as sure as it was"}).decode()),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 0.3),)))
    assert "Confidence: as sure as it was." in plan_page(board.world(NOW), None, 119).text


def test_a_plan_is_decoded_once_and_older_ones_of_the_same_never(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    bodies = [msgspec.json.encode({"notes": [str(path), str(at)]}).decode() for at in range(4)]
    with History.writing(path) as history:
        for at, body in enumerate(bodies):
            server = "elsewhere" if at == 0 else PLAN.server
            history.plans.add(msgspec.structs.replace(PLAN, created_at=NOW + at, server=server, body=body))
    memory, before = HistoryNotes(path), _decoded.cache_info().misses
    for _ in range(3):
        known = memory.read(NOW + 10)
        assert known is not None
        assert sorted(plan.created_at for plan in known.plans) == [NOW, NOW + 3]
    assert _decoded.cache_info().misses == before + 2
    earlier = memory.read(NOW + 2)
    assert earlier is not None
    assert sorted(plan.created_at for plan in earlier.plans) == [NOW, NOW + 2]
    memory.close()
