"""Measurements of others become a history that can be planned: CSV files, a real Prometheus, and bad input."""

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capacity.plan_simulated import Truth
from tests.capacity.planner_cli import Done, whisper_ops
from tests.support.prometheus import running_prometheus
from whisper_ops.errors import Exit
from whisper_ops.history import History

DATA = Path(__file__).parents[2] / "data"
TRUTH = Truth(limit=60, base=0.3, growth=0.4, power=1)


def imported(capsys: pytest.CaptureFixture[str], db: Path, *arguments: str) -> Done:
    return whisper_ops(capsys, "import", *arguments, "--history", str(db))


def test_a_published_history_of_four_boxes_is_read_with_its_columns_mapped(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    db = tmp_path / "history.db"
    done = imported(
        capsys, db, str(DATA / "nemotron-l40s-4box-history.csv"), "--server", "l40s", "--by", "backend",
        "--gpu", "L40S", "--software", "nemotron", "--model", "nemotron-0.6b", "--map", "at=ts",
        "--map", "server.streams_active=active_p95", "--map", "server.lag_p95_seconds=finalize_p95_ms:ms",
        "--map", "server.rejected_total=rejected",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "imported 964 moments" in done.err
    with History.reading(db) as history:
        assert history.polls.servers() == [f"l40s/box{n}" for n in (1, 2, 3, 4)]
        first = next(history.polls.between("l40s/box1", 0, 2e9))
    assert first.at == 1779985004.0  # 2026-05-28T16:16:44Z
    assert first.figures is not None
    assert first.figures.lag_p95_seconds == pytest.approx(0.02026)
    assert first.gpus[0].streams_active == 3
    planned = whisper_ops(capsys, "plan", "--history", str(db), "--server", "box1", "--json")
    assert planned.code in (0, Exit.EVIDENCE)  # nothing in these polls is said to be known that was not near
    if planned.code == 0:
        assert planned.json["max_connections_per_gpu"] <= planned.json["polled_peak"] * 2


def test_polls_in_a_file_are_planned_like_our_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["time,calls,p95_ms,gpu_busy_pct,vram_mib"]
    for i in range(600):
        n = 15 + round(14 * math.sin(i / 40))
        rows.append(f"{1000 + 10 * i},{n},{TRUTH.lag(n) * 1000:.1f},{100 * n / TRUTH.limit:.2f},{9000 + 150 * n}")
    (tmp_path / "polls.csv").write_text("\n".join(rows))
    db = tmp_path / "history.db"
    maps = (
        "at=time", "server.streams_active=calls", "server.lag_p95_seconds=p95_ms:ms", "gpu.busy_ratio=gpu_busy_pct:%",
        "gpu.memory_used_bytes=vram_mib:mib",
    )  # fmt: skip
    arguments = [part for entry in maps for part in ("--map", entry)]
    assert imported(capsys, db, str(tmp_path / "polls.csv"), *arguments, "--model", "base").code == 0
    body = whisper_ops(capsys, "plan", "--history", str(db), "--json").json
    assert body["capacity"]["estimate"] == pytest.approx(TRUTH.capacity, rel=0.2)
    memory = next(resource for resource in body["resources"] if resource["name"] == "GPU memory")
    assert memory["law"] == "9.44 GB + 0.157 GB a connection"


def test_levels_of_another_load_test_bracket_but_stay_provisional(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = ["clients,p95_ms", *(f"{n},{p}" for n, p in ((16, 400), (32, 700), (48, 1500), (56, 3100)))]
    (tmp_path / "levels.csv").write_text("\n".join(rows))
    db = tmp_path / "history.db"
    maps = ("--map", "level.streams=clients", "--map", "level.stable_p95_seconds=p95_ms:ms")
    assert imported(capsys, db, str(tmp_path / "levels.csv"), "--levels", *maps).code == 0
    body = whisper_ops(capsys, "plan", "--history", str(db), "--json").json
    assert (body["capacity"]["last_pass"], body["capacity"]["first_fail"], body["provisional"]) == (48, 56, True)
    done = imported(capsys, db, str(tmp_path / "levels.csv"), "--levels", "--map", "level.mood=p95_ms")
    assert done.code == Exit.USAGE
    assert "level.FIELD=COLUMN" in done.sentence()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name either a CSV file or --prometheus"),
        (["FILE", "--map", "server.streams_active=n"], "--map needs at=COLUMN"),
        (["FILE", "--map", "at=t"], "the load of every law"),
        (["FILE", "--map", "at=t", "--map", "server.streams=n"], "near: "),
        (["FILE", "--map", "at=t", "--map", "server.streams_active=m"], "has no column 'm'"),
        (["FILE", "--map", "t"], "--map takes FIGURE=COLUMN"),
        (["FILE", "--map", "at=word", "--map", "server.streams_active=n"], "which is no time"),
        (["FILE", "--map", "at=t", "--map", "server.streams_active=word"], "which is not a number"),
        (["FILE", "--map", "at=t", "--map", "server.streams_active=below"], "cannot be below 0"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("t,n,word,below\n1,2,soon,3\n2,3,later,-4\n")
    done = imported(capsys, tmp_path / "history.db", *(str(file) if a == "FILE" else a for a in arguments))
    assert done.code == Exit.USAGE
    assert sentence in done.sentence()
    assert not (tmp_path / "history.db").exists()


def test_no_prometheus_there_is_exit_code_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = imported(capsys, tmp_path / "history.db", "--prometheus", "http://127.0.0.1:9")
    assert done.code == Exit.UNREACHABLE
    assert "cannot reach Prometheus at http://127.0.0.1:9" in done.sentence()


def exposition(now: float) -> str:
    """Six hours of a whisper-ops server and a DCGM exporter beside it, as OpenMetrics with times."""
    families: dict[str, list[str]] = {}
    for i in range(360):
        at = now - 6 * 3600 + 60 * i
        n = 15 + round(14 * math.sin(i / 30))
        for name, labels, value in (
            ("whisper_ops_connections_active", 'instance="asr-1:8000"', n),
            ("whisper_ops_gpu_connections_active", 'instance="asr-1:8000",gpu="0"', n),
            ("whisper_ops_gpu_busy_ratio", 'instance="asr-1:8000",gpu="0"', n / TRUTH.limit),
            ("whisper_ops_gpu_lag_p95_seconds", 'instance="asr-1:8000",gpu="0"', TRUTH.lag(n)),
            ("whisper_ops_build_info", 'instance="asr-1:8000",version="1.2.0",model="base",compute_type="int8"', 1),
            # Two instances of one GPU, and two pods on the first of them.
            ("DCGM_FI_DEV_FB_USED", 'instance="asr-1:9400",gpu="0",GPU_I_ID="1",pod="a"', 9000),
            ("DCGM_FI_DEV_FB_USED", 'instance="asr-1:9400",gpu="0",GPU_I_ID="1",pod="b"', 9000),
            ("DCGM_FI_DEV_FB_USED", 'instance="asr-1:9400",gpu="0",GPU_I_ID="2",pod="c"', 150 * n),
        ):
            families.setdefault(name, []).append(f"{name}{{{labels}}} {value} {at:.0f}")
    lines = [line for name, rows in families.items() for line in (f"# TYPE {name} gauge", *rows)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that holds a day's data, on a free port."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make system-packages` installs it")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "metrics.txt").write_text(exposition(time.time() - 3 * 3600))
    data = folder / "data"
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "metrics.txt"), str(data)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    configuration = "global: {scrape_interval: 1m}\n"
    with running_prometheus(folder, configuration, "--storage.tsdb.retention.time=30d") as url:
        yield url


def test_a_real_prometheus_is_planned_from(capsys: pytest.CaptureFixture[str], tmp_path: Path, prometheus: str) -> None:
    db = tmp_path / "history.db"
    done = imported(
        capsys, db, "--prometheus", prometheus, "--from", "12h", "--mapping", "whisper-ops", "--mapping", "dcgm",
        "--gpu", "H100 80GB",
    )  # fmt: skip
    assert done.code == 0, done.err
    body = whisper_ops(capsys, "plan", "--history", str(db), "--json").json
    assert body["server"] == "asr-1:8000"
    assert (body["key"]["version"], body["key"]["model"], body["key"]["compute_type"]) == ("1.2.0", "base", "int8")
    assert body["capacity"]["estimate"] == pytest.approx(TRUTH.capacity, rel=0.2)
    memory = next(resource for resource in body["resources"] if resource["name"] == "GPU memory")
    assert memory["law"] == "9.44 GB + 0.157 GB a connection"  # the exporter of the same machine, in MiB


def test_a_prometheus_without_our_metrics_is_not_enough(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, prometheus: str
) -> None:
    done = imported(capsys, tmp_path / "history.db", "--prometheus", prometheus, "--mapping", "vllm")
    assert done.code == Exit.EVIDENCE
    assert "knows none of the metrics" in done.sentence()
