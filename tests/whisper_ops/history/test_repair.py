"""info, check, repair, vacuum and export: what a user sees, and what a damaged file gives back."""

import csv
import io
import json
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from tests.support.servers import whisper_ops
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History, PlanRecord, Retention, SweepRecord
from whisper_ops.history.inventory import info
from whisper_ops.history.repair import problems, repair
from whisper_ops.history.row_export import TIMES, rows, write
from whisper_ops.history.writer_lock import WriterLock
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

NOW = time.time() // 3600 * 3600 - 7200
POLLS = 600


def filled(path: Path, polls: int = POLLS) -> Path:
    """Two servers polled each second, and one of everything else."""
    with History.writing(path) as history:
        for server in ("one", "two, with a comma"):
            history.polls.add(
                [
                    Snapshot(
                        server=server, at=NOW + at, identity=Identity(model="tiny.en"),
                        host=HostFigures(hostname="h", cpu_ratio=0.5),
                        figures=ServerFigures(slots=4, slots_used=at % 5, lag_p95_seconds=at / 1000),
                        gpus=tuple(GpuFigures(gpu_id=i, name="H100", busy_ratio=at / 1000) for i in range(4)),
                    )
                    for at in range(polls)
                ]
            )  # fmt: skip
        history.polls.roll_up(NOW + 7000)
        history.sweeps.start(SweepRecord(server="one", started_at=NOW, chunk_seconds=0.1, corpus="c", objective="o"))
        history.plans.add(PlanRecord(created_at=NOW, objective="o", provisional=False, reason="r", body="{}"))
        alert = AlertRecord(rule="r", severity="warning", server="one", started_at=NOW, sentence="s")
        history.polls.add(
            events=[EventRecord(at=NOW, kind="test", detail="'quoted', \"twice\"\nsecond line")], alerts=[alert]
        )
    return path


def damaged(path: Path, pages: range) -> None:
    """Overwrite whole pages in the middle of a file, as a bad disk does."""
    content = bytearray(path.read_bytes())
    for page in pages:
        content[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def test_info_says_what_is_there_and_who_writes(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.db")
    lock = WriterLock(path, "whisper-ops record")
    assert lock.try_acquire() is None
    with History.reading(path) as history:
        found = info(history)
    lock.release()
    assert [(tier.tier, tier.rows) for tier in found.tiers] == [("raw", 2 * POLLS), ("minute", 20), ("hour", 2)]
    assert (found.tiers[0].first_at, found.tiers[0].last_at) == (NOW, NOW + POLLS - 1)
    assert [server.name for server in found.servers] == ["one", "two, with a comma"]
    assert (found.sweeps, found.plans, found.events, found.alerts, found.alerts_open) == (1, 1, 1, 1, 1)
    assert found.writer is not None
    assert found.writer.command == "whisper-ops record"
    with History.reading(path) as history:
        assert info(history).writer is None


def test_the_commands_of_a_sound_history(tmp_path: Path) -> None:
    path = str(filled(tmp_path / "history.db"))
    shown = whisper_ops("history", "info", "--history", path)
    assert shown.returncode == 0, shown.stderr
    assert "two, with a comma" in shown.stdout
    assert "written by nobody now" in shown.stdout
    document = json.loads(whisper_ops("history", "info", "--json", "--history", path).stdout)
    assert (document["schema"], document["sweeps"], document["writer"]) == ("whisper-ops/history/1", 1, None)
    sound = whisper_ops("history", "check", "--history", path)
    assert (sound.returncode, sound.stdout) == (0, "")
    assert "is sound" in sound.stderr
    assert "nothing was done" in whisper_ops("history", "repair", "--history", path).stderr


def test_vacuum_gives_space_back(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.db", 3000)
    with History.writing(path) as history:
        history.polls.prune(NOW + 30 * 86400, Retention())
    before = path.stat().st_size
    done = whisper_ops("history", "vacuum", "--history", str(path))
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size < before / 3
    assert problems(path) == []


@pytest.mark.parametrize("command", ["info", "check", "repair", "vacuum"])
def test_no_history_is_a_sentence(tmp_path: Path, command: str) -> None:
    done = whisper_ops("history", command, "--history", str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert "there is no history at" in done.stderr


def test_a_damaged_file_is_moved_aside_and_what_can_be_read_is_saved(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.db", 2000)
    whole = path.stat().st_size // 4096
    damaged(path, range(whole // 2, whole // 2 + 3))
    before = path.read_bytes()
    checked = whisper_ops("history", "check", "--history", str(path))
    assert checked.returncode == 1
    assert checked.stdout
    mended = whisper_ops("history", "repair", "--history", str(path))
    assert mended.returncode == 0, mended.stderr
    assert "rows were saved" in mended.stderr
    (aside,) = tmp_path.glob("history.db.damaged-*[0-9]")
    assert aside.read_bytes() == before
    assert problems(path) == []
    with History.reading(path) as history:
        polls = [*history.polls.between("one", 0, 1e12), *history.polls.between("two, with a comma", 0, 1e12)]
        samples = sum(
            next(history.database.rows(f"SELECT count(*) AS n FROM {table}"))["n"]
            for table in ("server_sample", "gpu_sample", "host_sample")
        )
        assert len(history.plans.every()) == 1
    assert len(polls) > 3500
    # Three of some hundred pages are gone: more than nine of ten rows are back.
    assert samples > 0.9 * 6 * 4000


def test_every_page_may_be_the_bad_one(tmp_path: Path) -> None:
    sound = filled(tmp_path / "sound.db", 60).read_bytes()
    for page in range(1, len(sound) // 4096, 3):
        folder = tmp_path / str(page)
        folder.mkdir()
        path = folder / "history.db"
        path.write_bytes(sound)
        damaged(path, range(page, page + 1))
        if problems(path):
            saved = repair(path)
            assert saved.aside.exists()
        assert problems(path) == []
        with History.writing(path) as history:
            history.polls.add([Snapshot(server="one", at=NOW + 9999)])


def test_a_file_without_any_sense_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database")
    done = whisper_ops("history", "repair", "--history", str(path))
    assert done.returncode == 2
    assert "is no SQLite file" in done.stderr
    assert path.read_text() == "these are my notes, not a database"


@pytest.mark.parametrize("table", TIMES)
def test_every_table_can_be_exported(tmp_path: Path, table: str) -> None:
    path = filled(tmp_path / "history.db", 120)
    with History.reading(path) as history:
        plain, lines = io.StringIO(newline=""), io.StringIO()
        count = write(rows(history, table), plain, "csv")
        assert write(rows(history, table), lines, "jsonl") == count
    read = list(csv.DictReader(io.StringIO(plain.getvalue(), newline="")))
    objects = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert len(read) == len(objects) == count
    assert count or table in {"level", "stream"}
    for row, one in zip(read, objects, strict=True):
        assert {key: None if value == "" else value for key, value in row.items()} == {
            key: None if value is None or value == "" else str(value) for key, value in one.items()
        }


def test_rows_are_chosen_by_time_and_server(tmp_path: Path) -> None:
    path = str(filled(tmp_path / "history.db", 120))
    done = whisper_ops(
        "export", "gpu_sample", "--history", path, "--format", "jsonl", "--server", "one",
        "--since", str(NOW + 10), "--until", str(NOW + 12),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [msgspec.json.decode(line, type=dict[str, object]) for line in done.stdout.splitlines()]
    assert [(row["server"], row["at"], row["gpu_id"]) for row in found] == [
        ("one", NOW + at, gpu) for at in (10, 11) for gpu in range(4)
    ]
    assert "8 rows of gpu_sample" in done.stderr
    assert whisper_ops("export", "--history", path, "--since", "1d").stdout.count("\n") == 241
    wrong = whisper_ops("export", "gpus", "--history", path)
    assert wrong.returncode == 2
    assert "there is no table gpus to export; there are server_sample" in wrong.stderr
    assert whisper_ops("export", "--history", path, "--since", "soon").returncode == 2


def test_what_has_no_time_or_server_cannot_be_chosen_by_it(tmp_path: Path) -> None:
    with History.reading(filled(tmp_path / "history.db", 10)) as history:
        with pytest.raises(UserError, match="have no time"):
            list(rows(history, "stream", since=1.0))
        with pytest.raises(UserError, match="have no server"):
            list(rows(history, "level", server="one"))


def test_the_damage_of_an_index_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.db", 10)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO server_sample (server_id, at) VALUES (99, 1)")
    connection.commit()
    connection.close()
    assert problems(path) == ["server_sample: a row without its server"]
