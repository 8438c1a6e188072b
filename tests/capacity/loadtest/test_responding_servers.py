"""Who answered: streams and polls of several servers behind one address, and what a plan makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from capacity.loadgen.messages import StreamResult
from capacity.loadtest.responding_servers import RespondingServers, answered, per_gpu, spread
from capacity.loadtest.samples import level_samples
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from tests.capacity.plan_history import level, written
from whisper_ops.errors import Exit, UserError
from whisper_ops.histogram import BUCKETS
from whisper_ops.history import History, LevelRecord
from whisper_ops.plan.plan_document import Plan
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot


def stream(gpu: int | None, server: str | None, replica: str | None = None) -> StreamResult:
    return StreamResult(number=0, outcome="done", gpu_id=gpu, server_id=server, replica=replica)


def poll(server: str | None, gpus: int = 1, counts: tuple[int, ...] = (), active: int = 0) -> Snapshot:
    buckets = (*counts, *(0,) * (BUCKETS - len(counts))) if counts else None
    return Snapshot(
        server="lb:80",
        at=0.0,
        server_id=server,
        figures=ServerFigures(gpus=gpus, lag_bucket_counts=buckets, lag_p95_seconds=0.4),
        gpus=tuple(GpuFigures(gpu_id=g, streams_active=active) for g in range(gpus)),
    )


def test_a_gpu_is_one_of_a_server() -> None:
    three = [stream(0, name) for name in ("a", "a", "b", "b", "c", "c")]
    assert per_gpu(three) == {"a GPU 0": 2, "b GPU 0": 2, "c GPU 0": 2}
    assert per_gpu([stream(0, "a"), stream(1, "a")]) == {"GPU 0": 1, "GPU 1": 1}
    assert per_gpu([stream(0, None), stream(0, None)]) == {"GPU 0": 2}
    assert per_gpu([stream(None, "a"), stream(None, "b")]) == {}
    handed_out = [stream(0, None, "a:1"), stream(0, None, "b:1"), stream(0, None, "b:1")]
    assert per_gpu(handed_out) == {"a:1 GPU 0": 1, "b:1 GPU 0": 2}


def test_the_spread_is_over_all_gpus_also_those_without_a_stream() -> None:
    two = [stream(0, "a"), stream(0, "a"), stream(0, "b")]
    assert spread(two) == 1
    assert spread(two, gpus=3) == 2
    assert spread([stream(None, "a")]) is None


@pytest.mark.parametrize(
    ("streams", "polls", "expected"),
    [
        ([(stream(0, "a"), 1), (stream(0, "b"), 1)], [], (2, 2)),
        ([(stream(0, "a"), 1)], [poll("a"), poll("b", gpus=4)], (2, 5)),
        ([(stream(3, "a"), None), (stream(0, "b"), 4)], [poll("a", gpus=4)], (2, 8)),
        ([(stream(None, "a"), None), (stream(None, "b"), 4)], [], (2, None)),
        ([(stream(0, None, "a:1"), None), (stream(0, None, "b:1"), None)], [], (2, None)),
        ([(stream(0, None), None)], [poll(None, gpus=2)], (None, None)),
        ([], [], (None, None)),
    ],
)
def test_servers_are_counted_by_what_streams_and_polls_were_told(
    streams: list[tuple[StreamResult, int | None]], polls: list[Snapshot], expected: tuple[int | None, int | None]
) -> None:
    found: RespondingServers = answered(streams, polls)
    assert (found.servers, found.gpus) == expected


def test_lags_of_several_servers_are_pooled_and_no_spread_is_read_from_one_of_them() -> None:
    one = [poll("a", gpus=2, counts=(90,), active=1), poll("a", gpus=2, counts=(10,), active=1)]
    assert level_samples(one).gpu_spread == 0
    several = [*one, poll("b", counts=(0, 0, 0, 0, 0, 0, 0, 0, 100))]
    pooled = level_samples(several)
    assert pooled.gpu_spread is None
    alone = level_samples(one).server_lag_p95_seconds
    assert pooled.server_lag_p95_seconds is not None
    assert alone is not None
    assert pooled.server_lag_p95_seconds > 2 * alone, "the slow server's streams are half of all"


def planned(tmp_path: Path, levels: Sequence[LevelRecord], **changes: Any) -> Plan:
    with History.reading(written(tmp_path / "history.db", levels, server="lb:80", **changes)) as history:
        return make_plan(history, EvidenceRequest(), 2000.0)


def test_a_plan_through_a_balancer_counts_all_its_gpus_and_says_so(tmp_path: Path) -> None:
    # At the smallest level one server alone was seen.
    levels = [
        level(1, passed=True, servers=1, gpus=1),
        level(6, passed=True, servers=3, gpus=3, gpu_spread=0),
        level(9, passed=True, servers=3, gpus=3, gpu_spread=2),
        level(12, passed=False, servers=3, gpus=3),
    ]
    plan = planned(tmp_path, levels)
    assert (plan.key.servers, plan.key.gpus, plan.key.gpus_a_server) == (3, 3, 1)
    assert (plan.capacity.last_pass, plan.capacity.first_fail) == (3, 4)
    said = " ".join(plan.notes)
    assert "3 servers with 3 GPUs" in said
    assert "unevenly" in said
    assert "3 servers with 3 × H100" in plan.key.title


def test_a_plan_refuses_where_nobody_said_how_many_gpus_there_are(tmp_path: Path) -> None:
    levels = [level(3, passed=True, servers=3), level(6, passed=False, servers=3)]
    with pytest.raises(UserError, match="3 servers answered at lb:80") as refused:
        planned(tmp_path, levels)
    assert refused.value.code == Exit.EVIDENCE


def test_what_is_counted_outranks_an_older_sweep_that_is_not(tmp_path: Path) -> None:
    planned_path = written(tmp_path / "history.db", [level(3, passed=True, servers=3)], server="lb:80")
    later = [msgspec.structs.replace(one, started_at=5000.0) for one in (level(2, passed=True), level(4, passed=False))]
    written(planned_path, later, server="asr-2:8000", started_at=5000.0)
    with History.reading(planned_path) as history:
        assert make_plan(history, EvidenceRequest(), 6000.0).server == "asr-2:8000"
        with pytest.raises(UserError, match="3 servers answered"):
            make_plan(history, EvidenceRequest(server="lb"), 6000.0)


def test_histories_of_before_are_read_as_one_server(tmp_path: Path) -> None:
    plan = planned(tmp_path, [level(4, passed=True), level(8, passed=False)], gpus=2)
    assert (plan.key.servers, plan.key.gpus, plan.capacity.last_pass) == (1, 2, 2)
    assert not any("servers" in note for note in plan.notes)
