"""Closing the loop: a server told `auto` starts with the limit that was planned for exactly what it runs."""

from pathlib import Path

import pytest

from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import whisper_ops
from tests.support.servers import running_server
from whisper_ops import __version__
from whisper_ops.errors import Exit, UserError
from whisper_ops.identity import Identity
from whisper_ops.plan.auto_limit import SAFE_LIMIT, planned_limit

RUNNING = Identity(software="whisper-ops", version="1.2.0", engine="ctranslate2", model="large-v3-turbo", max_batch=16)


def planned(capsys: pytest.CaptureFixture[str], db: Path, last_pass: int, **changes: object) -> Path:
    levels = [level(n, n <= last_pass) for n in (last_pass // 2, last_pass, last_pass + 4)]
    written(db, levels, **changes)
    server = str(changes.get("server", "asr-1"))
    assert whisper_ops(capsys, "plan", "--history", str(db), "--server", server).code == 0
    return db


def test_the_newest_plan_of_the_same_software_and_model_is_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    db = planned(capsys, tmp_path / "history.db", 40)
    planned(capsys, db, 20, server="asr-2", model="small")
    found = planned_limit(db, RUNNING)
    assert found.max_connections_per_gpu == 36
    assert "36 connections a GPU, as the plan of" in found.origin
    assert "http://asr-1:8000 on H100 80GB" in found.origin


def test_without_a_plan_for_it_a_server_starts_safely_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    db = planned(capsys, tmp_path / "history.db", 40)
    for history, version in ((tmp_path / "none.db", "1.2.0"), (db, "9.9.9")):
        running = Identity(
            software="whisper-ops", version=version, engine="ctranslate2", model="large-v3-turbo", max_batch=16
        )
        found = planned_limit(history, running)
        assert found.max_connections_per_gpu == SAFE_LIMIT
        assert "`whisper-ops sweep` and `whisper-ops plan`" in found.origin


def test_a_plan_of_another_gpu_than_the_one_here_is_not_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = planned(capsys, tmp_path / "history.db", 40)
    for names, limit in ((["H100 80GB"], 36), (["L4"], SAFE_LIMIT), ([], 36)):
        monkeypatch.setattr("whisper_ops.plan.auto_limit.gpu_names", lambda names=names: names)
        assert planned_limit(db, RUNNING).max_connections_per_gpu == limit


def test_a_plan_that_allows_nothing_is_not_started_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = written(tmp_path / "history.db", [level(1, False)])
    assert whisper_ops(capsys, "plan", "--history", str(db)).code == Exit.NO
    with pytest.raises(UserError, match="not one connection meets the objective"):
        planned_limit(db, RUNNING)


@pytest.mark.serial
def test_a_real_server_takes_its_planned_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = planned(
        capsys, tmp_path / "history.db", 30, server="sim-1", engine="simulated", model="simulated", simulated=True,
        compute_type="simulated", max_batch=16, version=__version__,
    )  # fmt: skip
    arguments = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "auto")
    with running_server(tmp_path, *arguments, "--history", str(db)) as server:
        assert server.get("/gpu-status")["max_connections_per_gpu"] == 27
        assert "27 connections a GPU, as the plan of" in server.log.read_text()


def test_neither_a_number_nor_auto_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    done = whisper_ops(
        capsys, "serve", "--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "many"
    )
    assert done.code == Exit.USAGE
    assert "or auto, not 'many'" in done.sentence()
