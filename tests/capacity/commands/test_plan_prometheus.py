"""`plan --prometheus` answers as from a history: the same polls, once recorded and once in a real Prometheus."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.replay.replay_feed import ReplayFeed
from tests.capacity.plan_simulated import IDENTITY, Truth, polls, write_sweep
from tests.capacity.planner_cli import whisper_ops
from tests.support.prometheus import running_prometheus
from whisper_ops.cli.prometheus_options import chosen_history
from whisper_ops.errors import Exit
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

TRUTH = Truth(limit=60, base=0.3, growth=0.3, power=2, memory_limit=40)
COUNT = 300
BUILD = ",".join(
    f'{name}="{getattr(IDENTITY, name)}"' for name in ("version", "engine", "model", "compute_type", "max_batch")
)


def rows(poll: Snapshot) -> Iterator[tuple[str, str, float]]:
    """What a server that was polled so had on its page: metric, labels, value."""
    (gpu,), figures, host = poll.gpus, poll.figures, poll.host
    assert figures is not None
    assert host is not None
    named: tuple[tuple[str, str, float | None], ...] = (
        ("whisper_ops_build_info", f'{BUILD},simulated="false"', 1),
        ("whisper_ops_gpu_info", 'gpu="0",name="H100 80GB"', 1),
        ("whisper_ops_connections_active", "", figures.streams_active),
        ("whisper_ops_slots", "", figures.slots),
        ("whisper_ops_slots_used", "", figures.slots_used),
        ("whisper_ops_gpu_connections_active", 'gpu="0"', gpu.streams_active),
        ("whisper_ops_gpu_memory_total_bytes", 'gpu="0"', gpu.memory_total_bytes),
        ("whisper_ops_gpu_memory_used_bytes", 'gpu="0"', gpu.memory_used_bytes),
        ("whisper_ops_gpu_busy_ratio", 'gpu="0"', gpu.busy_ratio),
        ("whisper_ops_gpu_lag_p95_seconds", 'gpu="0"', gpu.lag_p95_seconds),
        ("whisper_ops_host_front_cpu_ratio", "", host.front_cpu_ratio),
        ("whisper_ops_host_memory_total_bytes", "", host.memory_total_bytes),
        ("whisper_ops_host_process_rss_bytes", "", host.process_rss_bytes),
    )
    yield from ((name, labels, value) for name, labels, value in named if value is not None)


@pytest.fixture
def found(tmp_path: Path) -> list[Snapshot]:
    # Whole seconds, as Prometheus answers for.
    return list(polls(TRUTH, 36, COUNT, since=float(int(time.time()) - 10 * COUNT - 60)))


@pytest.fixture
def url(found: list[Snapshot], tmp_path: Path) -> Iterator[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make system-packages` installs it")
    families: dict[str, list[str]] = {}
    for poll in found:
        for name, labels, value in rows(poll):
            joined = ",".join(filter(None, (f'instance="{poll.server}",job="whisper-ops"', labels)))
            families.setdefault(name, []).append(f"{name}{{{joined}}} {value} {poll.at:.0f}")
    lines = [line for name, samples in families.items() for line in (f"# TYPE {name} gauge", *samples)]
    (tmp_path / "metrics.txt").write_text("\n".join([*lines, "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
    made = subprocess.run(
        [*command, str(tmp_path / "metrics.txt"), str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    with running_prometheus(
        tmp_path, "global: {scrape_interval: 10s}\n", "--storage.tsdb.retention.time=30d"
    ) as running:
        yield running


def planned(capsys: pytest.CaptureFixture[str], history: Path, *more: str) -> Any:
    done = whisper_ops(capsys, "plan", "--history", str(history), "--json", *more)
    assert done.code == Exit.GOOD, done.err
    return done.json


def test_it_answers_as_from_a_history(
    capsys: pytest.CaptureFixture[str], found: list[Snapshot], url: str, tmp_path: Path
) -> None:
    recorded, swept = write_sweep(tmp_path / "recorded.db", TRUTH), write_sweep(tmp_path / "swept.db", TRUTH)
    with History.writing(recorded) as history:
        history.polls.add(found)
    alone = planned(capsys, swept)
    ours = planned(capsys, recorded)
    theirs = planned(capsys, swept, "--prometheus", url, "--from", "2h", "--step", "10s")
    assert ours["polled_peak"] > 0
    assert alone["polled_peak"] == 0, "the polls are in the Prometheus alone"
    for field in ("max_connections_per_gpu", "safe_limit", "binding_kind", "runner_up_kind", "polled_peak", "key"):
        assert theirs[field] == ours[field], field
    for mine, other in zip(ours["resources"], theirs["resources"], strict=True):
        assert mine["kind"] == other["kind"]
        for figure in ("limit", "low", "high", "cap"):
            assert other[figure] == pytest.approx(mine[figure], rel=0.05) if mine[figure] else not other[figure]
    # What was polled elsewhere is in no history; the plan is in the one that was named.
    with History.reading(swept) as history:
        assert list(history.database.rows("SELECT at FROM server_sample")) == []
        assert len(list(history.plans.every())) == 2


def test_polls_of_the_history_do_not_count_twice(
    capsys: pytest.CaptureFixture[str], found: list[Snapshot], url: str, tmp_path: Path
) -> None:
    both = write_sweep(tmp_path / "both.db", TRUTH)
    with History.writing(both) as history:
        history.polls.add(found)
    once = planned(capsys, both, "--prometheus", url, "--from", "2h", "--step", "10s")
    assert once["polled_seconds"] == pytest.approx(10 * COUNT, rel=0.05)


def test_without_a_history_the_polls_alone_are_planned_from(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    new = tmp_path / "new.db"
    done = whisper_ops(
        capsys, "plan", "--history", str(new), "--json", "--prometheus", url, "--from", "2h", "--step", "10s"
    )
    assert done.code in (Exit.GOOD, Exit.EVIDENCE), done.err
    assert "there is no history" not in done.err


def test_a_replay_shows_what_a_recorded_one_shows(found: list[Snapshot], url: str, tmp_path: Path) -> None:
    recorded = write_sweep(tmp_path / "recorded.db", TRUTH)
    with History.writing(recorded) as history:
        history.polls.add(found)
    options = {"history": tmp_path / "none.db", "prometheus": url, "since": "2h", "step": "10s", "mappings": ()}
    with chosen_history({**options, "token_file": None}) as remembered_there:
        # Just before the next poll: Prometheus is asked at moments of its own, and answers with the newest before each.
        for number in (10, COUNT // 2, COUNT - 10):
            ours, theirs = (shown(path, found[number].at + 9.999) for path in (recorded, remembered_there))
            assert theirs.figures is not None
            assert ours.figures is not None
            for name in ("streams_active", "slots", "slots_used"):
                assert getattr(theirs.figures, name) == getattr(ours.figures, name)
            assert theirs.identity == ours.identity
            (gpu,), (other) = ours.gpus, theirs.gpus[0]
            for name in ("streams_active", "memory_used_bytes", "busy_ratio", "lag_p95_seconds"):
                assert getattr(other, name) == pytest.approx(getattr(gpu, name), rel=1e-6)
    assert not (tmp_path / "none.db").exists()


def shown(history: Path, at: float) -> Snapshot:
    """What the one server's page is painted from."""
    replay = ReplayFeed(history, at, clock=lambda: 0.0)
    replay.refresh()
    (server,) = replay.world().servers
    replay.close()
    assert server.answer is not None
    return server.answer


def test_what_goes_wrong_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    history = str(write_sweep(tmp_path / "h.db", TRUTH))
    where = ("plan", "--history", history)
    away = whisper_ops(capsys, *where, "--prometheus", "http://127.0.0.1:9")
    assert away.code == Exit.UNREACHABLE
    assert "cannot reach Prometheus" in away.sentence()
    assert "--prometheus" in whisper_ops(capsys, *where, "--from", "2h").sentence()
    assert "no address of a Prometheus" in whisper_ops(capsys, *where, "--prometheus", "ftp://x").sentence()
