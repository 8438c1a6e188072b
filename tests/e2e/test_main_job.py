"""The main job through the commands a user types: speech, server, dashboard, load test, plan."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.servers import Running, free_port, whisper_ops

pytestmark = pytest.mark.speech


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(300)
def test_from_speech_to_a_plan(serve: Callable[..., Running], tmp_path: Path) -> None:
    server = serve("--devices", "cpu")
    history = str(tmp_path / "history.db")

    sweep = whisper_ops("sweep", server.url, "--levels", "1,2", "--duration", "12", "--history", history, "--json")
    assert sweep.returncode == 0, sweep.stderr
    levels = json.loads(sweep.stdout)["levels"]
    assert [level["streams"] for level in levels] == [1, 2]
    alone = levels[0]
    assert alone["audit"] == "provisional", "12 s are too short for a law"
    assert alone["words"] > 15
    assert alone["wer_ratio"] <= 0.10
    assert alone["partials_per_second"] > 0.2

    seen = whisper_ops("dash", server.url, "--once", "--json", "--history", history)
    assert seen.returncode == 0, seen.stderr
    (snapshot,) = json.loads(seen.stdout)["servers"]
    assert snapshot["state"] == "live"
    # One and two streams, and the one that warmed the server up.
    assert snapshot["figures"]["completed_total"] == 4

    table = whisper_ops("dash", server.url, "--once", "--history", history)
    assert "127.0.0.1" in table.stdout
    assert "healthy" in table.stdout

    plan = whisper_ops("plan", "--history", history, "--json")
    assert plan.returncode == 0, plan.stderr
    said = json.loads(plan.stdout)
    assert said["schema"] == "whisper-ops/plan/1"
    assert said["provisional"] is True
    words = whisper_ops("plan", "--history", history)
    assert "provisional" in words.stdout

    with sqlite3.connect(history) as db:
        assert db.execute("SELECT count(*) FROM level").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM stream").fetchone() == (3,)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(200)
def test_the_demo_ends_with_a_plan(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    demo = whisper_ops(
        "demo", "--levels", "1,2", "--duration", "8", "--no-screen", "--history", str(history), timeout=180
    )
    assert demo.returncode == 0, demo.stderr
    assert "provisional" in demo.stdout
    assert history.exists()


@pytest.mark.serial
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    command = [sys.executable, "-m", "whisper_ops", "demo", "--no-screen", "--history", str(history)]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "3/4" in line:
            break
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 2, "the server and the load test run"
    demo.send_signal(signal.SIGINT)
    assert demo.wait(40) == 130
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dash", "http://127.0.0.1:{port}", "--once"], 3, "127.0.0.1:{port}"),
        (["sweep", "http://127.0.0.1:{port}", "--levels", "1"], 3, "127.0.0.1:{port}"),
        (["serve", "--model", "{text}"], 2, "{text}"),
        (["plan", "--history", "{text}"], 2, "{text}"),
        (["record", "http://127.0.0.1:{port}", "--duration", "1", "--history", "{text}"], 2, "{text}"),
        (["plan", "--history", "{empty}"], 4, "{empty}"),
        (["sweep", "http://127.0.0.1:{port}", "--levels", "1,x"], 2, "x"),
    ],
)
def test_a_mistake_gets_a_sentence_and_its_code(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.db"
    text.write_text("These are notes and neither a model nor a database.\n" * 20)
    values = {"port": str(free_port()), "text": str(text), "empty": str(empty)}
    done = whisper_ops(*(argument.format(**values) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert words.format(**values) in done.stderr
    assert "Traceback" not in done.stderr
    assert text.read_text().startswith("These are notes"), "the file was left untouched"


def test_a_port_in_use_is_said(serve: Callable[..., Running]) -> None:
    server = serve("--devices", "cpu")
    second = whisper_ops("serve", "--port", str(server.port), "--devices", "cpu")
    assert second.returncode == 2
    assert str(server.port) in second.stderr
    assert "Traceback" not in second.stderr
