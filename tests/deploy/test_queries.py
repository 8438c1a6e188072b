"""Every query that we hand out returns data from a real Prometheus that scrapes a real server under load."""

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.server.virtual import loud
from tests.support.prometheus import asked, running_prometheus
from tests.support.servers import Running, running_server
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.exporters.prometheus_client import queries

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SIMULATED = ("--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "2")
UNKNOWN_HERE = {
    f"whisper_ops_gpu_{name}"
    for name in (
        *("utilization_ratio", "temperature_celsius", "power_watts", "power_limit_watts", "sm_clock_hertz"),
        *("ecc_errors_total", "reading_age_seconds"),
    )
}
"""What only NVML knows."""
THE_GUIDES = "(sum(whisperlivekit_connections_active) / (whisperlivekit_gpu_total * 4)) * 100"


def of_the_docs() -> Iterator[str]:
    for page in PAGES:
        for block in re.findall(r"```promql\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield from (line for line in block.splitlines() if line and not line.startswith("#"))


def of_the_dashboard() -> Iterator[str]:
    board = json.loads((ROOT / "deploy/grafana/whisper-ops.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "15s").replace("$instance", ".+")


def of_the_import() -> Iterator[str]:
    yield from (query.promql for query in queries(ready_made("whisper-ops")) if query.metric not in UNKNOWN_HERE)


def configuration(server: Running) -> str:
    """The shipped one, quicker and for our server."""
    text = (ROOT / "deploy/prometheus/whisper-ops.yml").read_text("utf-8")
    for ours, theirs in (
        ("10s", "1s"),
        ("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
        ("metrics_path: /metrics\n", "metrics_path: /metrics/prometheus\n"),
        ("  - whisper-ops.rules.yml", f"  - {ROOT}/deploy/prometheus/whisper-ops.rules.yml"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    return text


@contextmanager
def load(url: str) -> Iterator[None]:
    """Three streams that speak on, and two that come and go over the last slot, where one is turned away."""
    over = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def speak(seconds: float) -> None:
        while not over.is_set():
            with suppress(ConnectionClosed, OSError):
                async with connect(url, compression=None) as stream:
                    reading = asyncio.create_task(_read(stream))
                    until = loop.time() + seconds
                    while not over.is_set() and loop.time() < until:
                        await stream.send(loud(1600))
                        await asyncio.sleep(0.1)
                    reading.cancel()
            await asyncio.sleep(0.5)

    async def main() -> None:
        await asyncio.gather(*(speak(seconds) for seconds in (600, 600, 600, 3, 3)))

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)


async def _read(stream: Any) -> None:
    with suppress(ConnectionClosed):
        async for _ in stream:
            pass


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        running_server(folder, *SIMULATED) as server,
        running_prometheus(folder, configuration(server)) as url,
        load(server.ws_url),
    ):
        yield url


def result(url: str, query: str) -> list[Any]:
    """What an instant query returns."""
    return list(asked(url, "query", query=query)["result"])


def answered(url: str, query: str) -> bool:
    """Whether it returns anything but NaN, which is a quantile of nothing."""
    return any(row["value"][1] != "NaN" for row in result(url, query))


def silent_ones(url: str, queries: Iterable[str], seconds: float = 30) -> list[str]:
    """Those that return nothing, however long they are waited for: a rate needs two scrapes."""
    deadline, silent = time.monotonic() + seconds, list(queries)
    while (silent := [query for query in silent if not answered(url, query)]) and time.monotonic() < deadline:
        time.sleep(0.2)  # between two looks at a condition with a deadline
    return silent


def test_there_are_queries_to_look_at() -> None:
    assert len(list(of_the_docs())) > 10
    assert len(list(of_the_dashboard())) >= 6
    assert not [query for query in (*of_the_docs(), *of_the_dashboard()) if query == THE_GUIDES]


@pytest.mark.slow
def test_every_query_returns_data(prometheus: str) -> None:
    assert not silent_ones(prometheus, dict.fromkeys([*of_the_docs(), *of_the_dashboard(), *of_the_import()]))
    (target,) = asked(prometheus, "targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    # The one that is widely copied returns nothing, which is why the docs have another.
    assert asked(prometheus, "query", query=THE_GUIDES)["result"] == []
    (capacity,) = result(prometheus, "100 * sum(whisper_ops_slots_used) / (sum(whisper_ops_slots) > 0)")
    assert float(capacity["value"][1]) in (75, 100)


@pytest.mark.slow
def test_every_rule_can_be_evaluated_and_those_that_hold_fire(prometheus: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        (group,) = asked(prometheus, "rules")["groups"]
        rules = {rule["name"]: rule for rule in group["rules"]}
        if {rule["health"] for rule in rules.values()} == {"ok"} and (
            rules["WhisperOpsSlotsNearlyFull"]["state"] != "inactive"
        ):
            break
        assert time.monotonic() < deadline, rules
        time.sleep(0.2)
    for name in ("WhisperOpsServerSilent", "WhisperOpsGpuMemoryLow", "WhisperOpsGpuMemoryNearlyFull"):
        assert rules[name]["state"] == "inactive"


@pytest.mark.slow
def test_how_long_a_server_has_run_is_right_to_the_second(prometheus: str) -> None:
    """Written with six digits the start is off by up to an hour."""
    (age,) = result(prometheus, "time() - whisper_ops_start_time_seconds")
    assert 0 < float(age["value"][1]) < 300


def test_the_dashboard_is_current() -> None:
    script = [sys.executable, str(ROOT / "docs/make_dashboard.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_panel_names_its_source_and_every_query_its_letter() -> None:
    board = json.loads((ROOT / "deploy/grafana/whisper-ops.json").read_text("utf-8"))
    for panel in board["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
        assert "" not in letters
