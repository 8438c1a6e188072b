"""docs/history.md says what the file is, and its questions get answers from a real one."""

from pathlib import Path

import pytest

from docs.make_history import page
from tests.whisper_ops.history.test_repair import NOW, filled
from whisper_ops.history import History, LevelRecord
from whisper_ops.history.queries import QUERIES, SqlQuery
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    assert (ROOT / "docs/history.md").read_text("utf-8") == page(), "run `make docs`"


def test_every_table_and_column_is_described(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.db", 1)
    text = page()
    with History.reading(path) as history:
        tables = [row["name"] for row in history.database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in (name for name in tables if not name.startswith(("sqlite_", "_sqlite"))):
            assert table in text
            if table.endswith(("_minute", "_hour")):
                continue
            section = text.split(f"\n## {table}\n")[1].split("\n## ")[0]
            for column in history.database.rows(f"PRAGMA table_xinfo({table})"):
                assert f"| `{column['name']}` | {column['type']}" in section, f"{table}.{column['name']}"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two servers with a gap, a silence, a load that takes memory, a level and an alert."""
    path = filled(tmp_path_factory.mktemp("docs") / "history.db", 300)
    counts = tuple(int(bucket in {3, 30}) * 5 for bucket in range(33))
    with History.writing(path) as opened:
        opened.polls.add(
            Snapshot(
                server="one", at=NOW + 1000 + at, figures=ServerFigures(lag_bucket_counts=counts),
                gpus=(GpuFigures(gpu_id=0, streams_active=at // 60, memory_used_bytes=1e9 + at // 60 * 2e8),),
            )
            for at in range(300)
        )  # fmt: skip
        opened.polls.add([Snapshot(server="one", at=NOW + 1500, state="silent", error="connection refused")])
        opened.sweeps.add_level(
            LevelRecord(
                sweep_id=1, streams=4, started_at=NOW, duration_seconds=60, audit="valid", passed=True, reason="",
                achieved_concurrency=4, words=300,
            )
        )  # fmt: skip
        opened.polls.roll_up(NOW + 7000)
    return path


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.question[:40])
def test_every_question_has_an_answer(history: Path, query: SqlQuery) -> None:
    with History.reading(history) as opened:
        assert list(opened.database.rows(query.sql)), "no row"


def answers(history: Path, words: str) -> list[dict[str, object]]:
    (query,) = [query for query in QUERIES if words in query.question]
    with History.reading(history) as opened:
        return list(opened.database.rows(query.sql))


def test_the_answers_are_right(history: Path) -> None:
    assert len(QUERIES) == 10
    assert [(row["mb_a_stream"], row["base_gb"]) for row in answers(history, "memory does a stream")] == [(200.0, 1.0)]
    assert [row["within_2_s"] for row in answers(history, "within 2 seconds")] == [0.5]
    assert [(row["name"], row["seconds"]) for row in answers(history, "nothing recorded")] == [
        ("one", 701.0), ("one", 201.0)
    ]  # fmt: skip
    (silence,) = answers(history, "not answer")
    assert (silence["name"], silence["error"], silence["polls"]) == ("one", "connection refused", 1)
