"""Other programs on the server's machine: seen, said, and never taken for the server's own limit."""

import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from capacity.loadtest.aggregate import StreamCounts
from capacity.loadtest.level import LoadShape, MeasuredLevel, judge_level, make_order
from capacity.loadtest.other_load import on_gpus, other_share
from capacity.loadtest.samples import LevelSamples
from capacity.loadtest.target import parse_target
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from tests.capacity.plan_history import level, written
from tests.support.servers import Running, running_server, whisper_ops
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelFigures
from whisper_ops.objective import parse
from whisper_ops.objective.findings import OtherLoad, encode
from whisper_ops.objective.judgement import Baseline
from whisper_ops.plan.plan_answer import five_lines
from whisper_ops.snapshot import GpuFigures, HostFigures, Snapshot


def polled(busy: float | None, server: float | None, cores: int = 2, host: str = "elsewhere") -> Snapshot:
    figures = HostFigures(hostname=host, cpu_count=cores, cpu_ratio=busy, process_cpu_ratio=server)
    return Snapshot(server="one", at=1.0, host=figures)


@pytest.mark.parametrize(
    ("busy", "server", "ours", "host", "share"),
    [
        (1.0, 0.5, 0.3, "elsewhere", 0.75),  # the load test runs on another machine
        (1.0, 0.5, 0.3, socket.gethostname(), 0.6),
        (0.4, 0.8, 0.0, "elsewhere", 0.0),
        (0.3, 0.8, 0.0, "elsewhere", 0.0),  # measured a moment apart
        (None, 0.5, 0.0, "elsewhere", None),
        (1.0, None, 0.0, "elsewhere", None),
    ],
)
def test_what_is_left_of_a_busy_machine_is_of_others(
    busy: float | None, server: float | None, ours: float, host: str, share: float | None
) -> None:
    found = other_share([polled(busy, server, host=host)] * 3, ours)
    assert found == (None if share is None else pytest.approx(share))


def on_gpu(share: float | None, *programs: str, gpu_id: int = 0) -> Snapshot:
    gpu = GpuFigures(gpu_id=gpu_id, other_processes=programs, other_busy_ratio=share)
    return Snapshot(server="one", at=1.0, gpus=(gpu,))


def test_other_processes_on_a_gpu_are_named_with_what_they_took_of_it() -> None:
    assert on_gpus([on_gpu(0.0), Snapshot(server="one", at=1.0, gpus=(GpuFigures(gpu_id=0),))]) is None
    found = on_gpus([on_gpu(0.2, "a (1)"), on_gpu(0.4, "a (1)", "b (2)"), on_gpu(0.1, "c (3)", gpu_id=1)])
    assert found is not None
    assert found.share == pytest.approx(0.3)
    assert found.programs == ("a (1)", "b (2)")
    assert on_gpus([on_gpu(None, "a (1)")]) == (None, ("a (1)",))


def test_a_plan_names_the_programs_that_had_the_gpu(tmp_path: Path) -> None:
    found = OtherLoad(0.6, counts=True, gpu=True, programs=("ffmpeg (7)",))
    busy = {"server_busy_ratio": 1.0, "findings": encode((found,)), "reason": str(found)}
    with History.reading(written(tmp_path / "h.db", [level(1, False, **busy)])) as history:
        plan = make_plan(history, EvidenceRequest(), 5000.0)
    assert five_lines(plan, 5000.0)[0] == "Not one connection meets the objective while other programs had the GPU."
    assert plan.notes == (
        "other programs took up to 60% of the GPU (ffmpeg (7)) meanwhile: without them there is more room",
    )
    levels = [level(1, True), level(2, False, **busy)]
    with History.reading(written(tmp_path / "g.db", levels)) as history:
        assert "the GPU was" not in make_plan(history, EvidenceRequest(), 5000.0).reason


def test_other_replicas_of_the_service_on_the_same_machine_are_no_other_programs() -> None:
    replicas = [msgspec.structs.replace(polled(0.9, 0.5), server_id=name) for name in ("a", "b", "c", "a")]
    assert other_share(replicas, 0.0) == pytest.approx(0.15)
    elsewhere = msgspec.structs.replace(polled(1.0, 0.2, host="another"), server_id="d")
    assert other_share([*replicas, elsewhere], 0.0) == pytest.approx(0.9), "the machine that is disturbed most"


def measured(share: float | None, stable: float = 0.5) -> MeasuredLevel:
    return MeasuredLevel(
        streams=2,
        repeat=0,
        started_at=1.0,
        seconds=60.0,
        figures=LevelFigures(achieved_concurrency=2.0, words=400, stable_p95_seconds=stable, partials_per_second=1.0),
        counts=StreamCounts(asked=2, speech_words=400, first_error=None),
        readings=LevelSamples(other_cpu_ratio=share),
        order=make_order(parse_target("ws://127.0.0.1:1/ws"), LoadShape(), 2, 0, 1.0),
        parts=(),
        snapshots=(),
    )


@pytest.mark.parametrize("stable", [0.5, 9.0])
def test_a_level_under_much_other_load_is_no_evidence_whatever_it_measured(stable: float) -> None:
    objective = parse("stable_p95<=2s")
    judged = judge_level(measured(0.6, stable), objective, Baseline())
    assert (judged.audit, judged.passed) == ("disturbed", None)
    assert judged.reason == "other programs took 60% of the processors"
    quiet = judge_level(measured(0.1, stable), objective, Baseline())
    assert (quiet.audit, quiet.passed) == ("valid", stable < 2)
    unknown = judge_level(measured(None, stable), objective, Baseline())
    assert unknown.audit == "valid"


def test_a_level_beside_another_program_on_the_gpu_is_no_evidence() -> None:
    objective = parse("stable_p95<=2s")
    beside = msgspec.structs.replace(measured(0.0, 9.0), snapshots=(on_gpu(0.6, "ffmpeg (7)"),) * 2)
    judged = judge_level(beside, objective, Baseline())
    assert (judged.audit, judged.passed) == ("disturbed", None)
    assert judged.reason == "other programs took 60% of the GPU (ffmpeg (7))"
    there = msgspec.structs.replace(measured(0.0, 9.0), snapshots=(on_gpu(0.1, "ffmpeg (7)"), on_gpu(None, "x (8)")))
    assert judge_level(there, objective, Baseline()).passed is False, "they took little of it"


def test_a_level_that_was_to_count_counts_and_says_so() -> None:
    judged = judge_level(measured(0.6), parse("stable_p95<=2s"), Baseline(), most_other_load=1.0)
    assert (judged.audit, judged.passed) == ("valid", True)
    assert "other programs took 60%" in judged.reason


def test_a_plan_of_disturbed_levels_blames_the_other_programs_and_not_the_device(tmp_path: Path) -> None:
    found = encode((OtherLoad(0.75, counts=False),))
    levels = [
        level(n, None, audit="disturbed", reason="other programs took 75% of the processors", findings=found)
        for n in (1, 2)
    ]
    with (
        History.reading(written(tmp_path / "h.db", levels)) as history,
        pytest.raises(UserError, match="other programs took 75% of the processors") as caught,
    ):
        make_plan(history, EvidenceRequest(), 5000.0)
    assert caught.value.code == Exit.EVIDENCE
    assert "device" not in str(caught.value)


def test_a_plan_names_other_load_that_was_to_count(tmp_path: Path) -> None:
    found = encode((OtherLoad(0.75, counts=True),))
    busy = {"host_cpu_ratio": 1.0, "findings": found}
    levels = [level(1, False, **busy), level(2, False, **busy)]
    with History.reading(written(tmp_path / "h.db", levels)) as history:
        said = " ".join(five_lines(make_plan(history, EvidenceRequest(), 5000.0), 5000.0))
    assert "while other programs had the processors" in said
    assert "measure 1 and 2 streams for 60 s each again, without the other programs" in said
    assert "device" not in said
    assert "processors were" not in said
    levels = [level(1, True, **busy), level(2, False, **busy)]
    with History.reading(written(tmp_path / "g.db", levels)) as history:
        plan = make_plan(history, EvidenceRequest(), 5000.0)
    assert any("other programs took up to 75% of the processors" in note for note in plan.notes)
    assert "processors were" not in plan.reason


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(running_server(tmp_path, *arguments))


def _burn() -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        pass


@pytest.mark.serial
@pytest.mark.slow
def test_two_busy_neighbours_are_seen_by_a_real_sweep(serve: Callable[..., Running], tmp_path: Path) -> None:
    server = serve("--engine", "simulated", "--devices", "sim:1")
    burning = [multiprocessing.get_context("spawn").Process(target=_burn, daemon=True) for _ in range(2)]
    for process in burning:
        process.start()
    try:
        done = whisper_ops(
            *("sweep", server.url, "--levels", "1,2", "--duration", "8", "--history", str(tmp_path / "h.db"), "--json"),
            *("--max-other-load", "20"),
        )
    finally:
        for process in burning:
            process.terminate()
            process.join()
    levels = json.loads(done.stdout)["levels"]
    assert [found["audit"] for found in levels] == ["disturbed"] * len(levels)
    assert all(found["passed"] is None for found in levels)
    assert "before the first level" in done.stderr or "other programs took" in done.stderr
    plan = whisper_ops("plan", "--history", str(tmp_path / "h.db"))
    assert plan.returncode == Exit.EVIDENCE
    assert "other programs took" in plan.stderr
    assert msgspec.json.encode(levels)


_LEVELS = 20 if os.environ.get("WHISPER_OPS_NEIGHBOURS") == "full" else 5
_QUIET = 0.10
"""What other programs may take of the machine before the first level for it to be called quiet."""


def _busiest() -> str:
    """The programs that take most of the processors now, for whoever wonders."""
    running = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in running:
        with suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(1)
    shares = []
    for process in running:
        with suppress(psutil.Error):
            shares.append((process.cpu_percent(), process.info["name"]))
    return ", ".join(f"{name} {share:.0f} %" for share, name in sorted(shares, reverse=True)[:4] if share > 1)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("server", "levels"),
    [
        pytest.param(
            ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "20"),
            range(1, _LEVELS + 1),
            id="simulated",
        ),
        pytest.param(("--devices", "cpu"), range(1, 6), id="tiny.en", marks=pytest.mark.speech),
    ],
)
def test_without_a_neighbour_no_level_is_marked(
    server: tuple[str, ...], levels: Sequence[int], serve: Callable[..., Running], tmp_path: Path
) -> None:
    """The other half of the promise: a machine of its own is not taken for a disturbed one.

    Five levels, and twenty in `make test-neighbours`. On a machine that others use there is nothing to be seen.
    """
    busy = psutil.cpu_percent(interval=3) / 100
    if busy > _QUIET:
        pytest.skip(f"other programs take {busy:.0%} of this machine: {_busiest()}")
    running = serve(*server)
    found: list[dict[str, object]] = []
    for times in range(_LEVELS // len(levels)):
        done = whisper_ops(
            *("sweep", running.url, "--levels", ",".join(map(str, levels)), "--duration", "4"),
            *("--objective", "errors<=50%", "--max-other-load", "20", "--fresh", "--json"),
            *("--history", str(tmp_path / f"{times}.db")),
            timeout=350,
        )
        assert done.returncode in (0, 1), done.stderr
        found += json.loads(done.stdout)["levels"]
    marked = [f"{one['streams']}: {one['reason']}" for one in found if one["audit"] == "disturbed"]
    assert not marked, f"{len(marked)} of {len(found)}: {marked}; now: {_busiest()}"
    assert len(found) >= _LEVELS
    assert all(one["other_cpu_ratio"] is not None for one in found), "and it was looked"
