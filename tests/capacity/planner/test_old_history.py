"""A history that an older version made: it opens, migrates, keeps every row and plans to the same limit."""

import json
import sqlite3
from pathlib import Path

import pytest

from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from tests.support.servers import whisper_ops
from whisper_ops.history import History
from whisper_ops.objective.judgement import findings_of

_DUMP = Path(__file__).parents[2] / "data" / "history-2026-11-21.sql"
_TABLES = ("server_sample", "gpu_sample", "host_sample", "sweep", "level", "stream", "utterance", "plan", "event")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.executescript(_DUMP.read_text(encoding="utf-8"))
    return path


def rows(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES}


def test_it_migrates_and_keeps_every_row(old: Path) -> None:
    before = rows(old)
    assert before["level"] == 5
    assert before["server_sample"] == 87
    with History.writing(old) as history:
        (sweep,) = history.sweeps.every()
        levels = history.sweeps.levels(sweep.id)
        polls = list(history.polls.between(history.polls.servers()[0], 0.0, 1e12))
        assert [level.streams for level in levels] == [1, 4, 8, 12, 20]
        assert [findings_of(level) for level in levels] == [()] * 5, "what it kept as words stays words"
        assert "16.0 of 20 streams were live" in levels[-1].reason
        assert len(polls) == 87
    assert rows(old) == before


@pytest.mark.parametrize("migrated", [True, False])
def test_it_plans_to_the_limit_that_the_old_version_gave(old: Path, migrated: bool) -> None:
    if migrated:
        History.writing(old).close()
    with History.reading(old) as history:
        (given,) = history.plans.every()
        plan = make_plan(history, EvidenceRequest(), given.created_at)
    before = json.loads(given.body)
    assert plan.max_connections_per_gpu == given.max_connections_per_gpu
    assert plan.binding_resource == before["binding_resource"]
    # That version took the level of 20 streams on 16 slots for one that the device missed.
    assert (given.last_pass, given.first_fail) == (6, 10)
    assert (plan.capacity.last_pass, plan.capacity.first_fail) == (6, None)
    assert [(level.streams, level.passes) for level in plan.levels] == [
        (level["streams"], level["passes"]) for level in before["levels"]
    ]


def test_its_commands_read_it(old: Path) -> None:
    plan = whisper_ops("plan", "--history", str(old), "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["max_connections_per_gpu"] is not None
    what_if = whisper_ops("plan", "--history", str(old), "--objective", "stable_p95<=300ms")
    assert "p95 stable word latency" in what_if.stdout + what_if.stderr
    assert whisper_ops("history", "check", "--history", str(old)).returncode == 0
