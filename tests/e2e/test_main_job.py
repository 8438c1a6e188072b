"""The main job through the commands a user types: speech, server, dashboard, load test, plan."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from capacity.next_levels import TriedLevel, ends
from tests.support.servers import Running, free_port, whisper_ops
from whisper_ops.history import History

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
def test_the_demo_of_named_levels_ends_with_a_plan(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    demo = whisper_ops(
        *("demo", "--act", "speech", "--levels", "1,2", "--duration", "8", "--no-screen"),
        *("--history", str(history)),
        timeout=180,
    )
    assert demo.returncode == 0, demo.stderr
    assert "provisional" in demo.stdout
    assert len(demo.stdout.splitlines()) == 5
    assert history.exists()


def _burn() -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        pass


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "neighbours",
    [
        pytest.param(
            0,
            id="alone",
            marks=pytest.mark.skipif(
                os.environ.get("WHISPER_OPS_NEIGHBOURS") != "full", reason="minutes long: make test-neighbours"
            ),
        ),
        pytest.param(2, id="beside two busy programs"),
    ],
)
def test_the_whole_demo_ends_with_a_narrow_bracket_or_says_why_not(neighbours: int, tmp_path: Path) -> None:
    history, context = tmp_path / "history.db", multiprocessing.get_context("spawn")
    burning = [context.Process(target=_burn, daemon=True) for _ in range(neighbours)]
    for process in burning:
        process.start()
    began = time.monotonic()
    try:
        demo = whisper_ops("demo", "--no-screen", "--history", str(history), timeout=380)
    finally:
        for process in burning:
            process.terminate()
            process.join()
    took = time.monotonic() - began
    assert demo.returncode in (0, 1), demo.stderr
    # The first act: a plan that says it is simulated, and a server that was lost.
    answer, *rest = demo.stdout.splitlines()
    assert "simulated" in answer or "the fleet" in demo.stderr
    assert "sim-4 was killed" in demo.stderr or "left out" in demo.stderr
    # The second one: its levels end in a bracket, whose ends the history has.
    with History.reading(history) as store:
        (stored,) = store.sweeps.every()
        levels = store.sweeps.levels(stored.id)
    low, high = ends({one.streams: TriedLevel(passed=one.passed) for one in levels if one.passed is not None})
    narrow = low is not None and high is not None and high <= 2 * low
    assert narrow or "not known within a factor of 2" in demo.stderr or "no plan" in demo.stderr
    assert narrow or neighbours, f"{low} to {high} on a machine of its own: {demo.stderr}"
    assert len(rest) >= 4
    assert "Three things to try" in demo.stderr
    print(f"{took:.0f} s, [{low}, {high}), {len(levels)} levels")  # noqa: T201  # with -s, for a person


@pytest.mark.serial
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    command = [
        *(sys.executable, "-m", "whisper_ops", "demo", "--act", "speech", "--no-screen", "--history", str(history)),
    ]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith("level 1"):
            break
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 3, "the server, its worker and the load generator run"
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
