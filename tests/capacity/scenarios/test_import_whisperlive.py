"""The real WhisperLive with its metrics: scraped by a real Prometheus and read by `import`, swept, polled and planned.

It needs .venv-peers, which `make bench-sources` installs, and takes a minute: WHISPER_OPS_PEERS=1 runs it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dashboard.planned_limits import planned_limit_of
from tests.bench.peer import VENV, model_folder, running, whisperlive
from tests.support.servers import free_port, whisper_ops
from whisper_ops.history import History
from whisper_ops.plan.plan_records import read

pytestmark = [
    pytest.mark.speech,
    pytest.mark.serial,
    pytest.mark.skipif(
        not os.environ.get("WHISPER_OPS_PEERS") or not VENV.exists() or shutil.which("prometheus") is None,
        reason="WHISPER_OPS_PEERS=1, .venv-peers and prometheus are needed",
    ),
]


@contextmanager
def prometheus(folder: Path, scraped: int) -> Iterator[str]:
    """A Prometheus that scrapes one port every second."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: live, static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]}}]\n"
    )
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        _wait_until_it_listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)  # between two looks at a condition with a deadline
    raise AssertionError("prometheus does not listen")


def _wait_until_scraped(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = httpx.get(
            f"{url}/api/v1/query", params={"query": "whisperlive_transcription_latency_seconds_count > 0"}
        )
        if answer.json()["data"]["result"]:
            return
        time.sleep(0.2)  # between two looks at a condition with a deadline
    raise AssertionError("no transcription was ever scraped")


@pytest.mark.timeout(180)
def test_whisperlive_is_read_through_a_real_prometheus(tmp_path: Path) -> None:
    port, metrics, db = free_port(), free_port(), tmp_path / "history.db"
    live = whisperlive(model_folder(), port)
    live.command[2] = live.command[2].replace("max_clients=64", f"max_clients=64, metrics_port={metrics}")
    with running(live, port, tmp_path / "log"), prometheus(tmp_path, metrics) as url:
        swept = whisper_ops(
            "sweep", f"ws://127.0.0.1:{port}", "--protocol", "whisperlive", "--levels", "2", "--duration", "15",
            "--no-warm-up", "--history", str(tmp_path / "sweep.db"),
        )  # fmt: skip
        assert swept.returncode in (0, 1), swept.stderr
        _wait_until_scraped(url)
        done = whisper_ops(
            "import",
            "--prometheus",
            url,
            "--from",
            "3m",
            "--step",
            "1s",
            "--mapping",
            "whisperlive",
            "--history",
            str(db),
        )
        assert done.returncode == 0, done.stderr
    with History.reading(db) as history:
        (server,) = history.polls.servers()
        polls = list(history.polls.between(server, 0, 2e10))
    figures = [poll.figures for poll in polls if poll.figures is not None]
    assert server == f"127.0.0.1:{metrics}"
    assert max(one.streams_active or 0 for one in figures) == 2
    # The time to decode a chunk is no lag.
    assert any((one.final_p95_seconds or 0) > 0 for one in figures)
    assert all(one.lag_p95_seconds is None for one in figures)
    assert (figures[-1].accepted_total or 0) >= 2
    assert polls[0].identity is not None
    assert polls[0].identity.software == "whisperlive"


@pytest.mark.timeout(240)
def test_a_real_sweep_and_its_real_polls_end_in_one_plan(tmp_path: Path) -> None:
    port, metrics, db = free_port(), free_port(), tmp_path / "history.db"
    live = whisperlive(model_folder(), port)
    live.command[2] = live.command[2].replace("max_clients=64", f"max_clients=64, metrics_port={metrics}")
    with running(live, port, tmp_path / "log"):
        watching = [sys.executable, "-m", "whisper_ops", "record", f"whisperlive+http://127.0.0.1:{metrics}"]
        with subprocess.Popen([*watching, "--history", str(db)], stderr=subprocess.DEVNULL) as recorder:
            try:
                swept = whisper_ops(
                    "sweep", f"ws://127.0.0.1:{port}", "--protocol", "whisperlive", "--levels", "1,2",
                    "--duration", "15s", "--no-warm-up", "--metrics", f"127.0.0.1:{metrics}", "--objective",
                    "stable_p95<=30s", "--history", str(db), timeout=200,
                )  # fmt: skip
            finally:
                recorder.terminate()
                recorder.wait(20)
    assert swept.returncode in (0, 1), swept.stderr
    planned = whisper_ops("plan", "--history", str(db), "--json")
    plan = json.loads(planned.stdout)
    assert (plan["key"]["software"], plan["server"]) == ("whisperlive", f"127.0.0.1:{port}"), planned.stderr
    assert plan["polled_peak"] == 2
    with History.reading(db) as history:
        (sweep,) = history.sweeps.every()
        levels = history.sweeps.levels(sweep.id)
        plans = [read(record) for record in history.plans.every()]
        (polled,) = history.polls.servers()
        *_, last = history.polls.between(polled, 0, 2e10)
    assert polled == f"127.0.0.1:{metrics}"
    assert all((level.server_rss_bytes or 0) > 1e8 for level in levels), "its metrics say what it takes"
    assert all(level.server_lag_p95_seconds is None for level in levels), "it has no lag to tell"
    knee = planned_limit_of(last, plans)
    assert knee is not None
    assert knee.plan.server == f"127.0.0.1:{port}"
