"""`whisper-ops plan` as it is typed: what it prints, what it stores, how it ends."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.capacity.plan_history import level, written
from whisper_ops.history import History


def whisper_ops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whisper_ops", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_answer_comes_first_and_the_plan_is_stored(tmp_path: Path) -> None:
    db = written(tmp_path / "history.db", [level(n, n <= 80) for n in (16, 48, 80, 88)])
    done = whisper_ops("plan", "--history", str(db))
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:7]] == [
        "Run at most 72 connections per GPU.", "Why", "Next limit", "Confidence", "Next", "",
        "http",
    ]  # fmt: skip
    assert f"--levels 84 --duration 5m --history {db}`." in done.stdout.splitlines()[4]
    assert done.stderr == "", "nobody watches, so nothing is said of progress"
    assert "conservative 40 · moderate 56 · aggressive 72 · extreme 88" in done.stdout
    with History.reading(db) as history:
        assert [plan.max_connections_per_gpu for plan in history.plans.every()] == [72]


def test_on_a_terminal_it_says_what_it_does_and_the_command_stands_alone(tmp_path: Path) -> None:
    db = written(tmp_path / "history.db", [level(n, n <= 80) for n in (16, 48, 80, 88)])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "whisper_ops", "plan", "--history", str(db)]
    running = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "60"}
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # a terminal that was left
        while more := os.read(ours, 65536):
            shown += more
    os.close(ours)
    assert running.wait(60) == 0
    text = shown.decode()
    assert "planning from " in text.partition("Run at most")[0]
    commands = [line for line in text.splitlines() if line.startswith("  whisper-ops sweep ")]
    assert {*commands} == {f"  whisper-ops sweep http://asr-1:8000 --levels 84 --duration 5m --history {db}"}


def test_json_is_versioned(tmp_path: Path) -> None:
    db = written(tmp_path / "history.db", [level(1, True, audit="provisional"), level(2, False, audit="provisional")])
    done = whisper_ops("plan", "--history", str(db), "--json")
    body = json.loads(done.stdout)
    assert (body["schema"], body["max_connections_per_gpu"], body["provisional"]) == ("whisper-ops/plan/1", 1, True)


@pytest.mark.parametrize("kind", ["none", "empty", "foreign"])
def test_a_history_that_cannot_answer_is_a_sentence(tmp_path: Path, kind: str) -> None:
    db = tmp_path / "history.db"
    if kind == "empty":
        written(db, [])
    elif kind == "foreign":
        sqlite3.connect(db).execute("CREATE TABLE birds (name TEXT)")
    done = whisper_ops("plan", "--history", str(db))
    assert done.returncode == {"none": 4, "empty": 4, "foreign": 2}[kind]
    assert done.stdout == ""
    assert done.stderr.startswith("whisper-ops: ")
    assert done.stderr.count("\n") == 1
