"""The query that a fleet is scaled by, in a real Prometheus over real servers: what is lost is never no load."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from capacity.reports.kubernetes import load_query
from tests.support.kubernetes import FOLDER, built, named
from tests.support.prometheus import asked, running_prometheus
from tests.support.servers import Running, free_port, running_server

SLOTS = 4
QUERY = load_query(SLOTS)
NAIVE = 'sum(whisper_ops_connections_active{namespace="whisper-ops",job="whisper-ops-server"})'
SIMULATED = (
    "--engine",
    "simulated",
    "--devices",
    "sim:1",
    "--max-connections-per-gpu",
    str(SLOTS),
    "--when-full",
    "503",
)
_SCRAPED = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: whisper-ops-server
    static_configs:
      - targets: [{targets}]
        labels: {{namespace: whisper-ops}}
"""


class Fleet(NamedTuple):
    """Two servers as a ServiceMonitor has them scraped."""

    prometheus: str
    servers: list[Running]
    streams: list[ClientConnection]

    def value(self, query: str) -> float | None:
        """As KEDA reads it: one sample, or none."""
        found = asked(self.prometheus, "query", query=query)["result"]
        assert len(found) <= 1
        return float(found[0]["value"][1]) if found else None

    def until(self, query: str, condition: Callable[[float | None], bool]) -> float | None:
        deadline = time.monotonic() + 40
        while not condition(value := self.value(query)):
            assert time.monotonic() < deadline, f"{query} is still {value}"
            time.sleep(0.2)  # between two looks at a condition with a deadline
        return value


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED)) for _ in range(2)]
        # The third is a pod that starts: it has an address and does not answer yet.
        ports = [*(server.port for server in servers), free_port()]
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        url = stack.enter_context(running_prometheus(tmp_path, _SCRAPED.format(targets=targets)))
        yield Fleet(url, servers, [stack.enter_context(connect(server.ws_url)) for server in servers for _ in range(3)])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_is_lost_never_looks_like_no_load(fleet: Fleet) -> None:
    fleet.until('count(up{job="whisper-ops-server"} == 0)', lambda value: value == 1)
    # Six streams: with headroom and the autoscaler's tolerance 7.26, which are two replicas of four. Were the pod that
    # starts taken for full each that starts would ask for another one.
    assert fleet.until(QUERY, lambda value: value == pytest.approx(7.26)) is not None
    # What was refused counts beside what is live, and is forgotten after a minute.
    with connect(fleet.servers[0].ws_url):
        refused = [httpx.get(f"{fleet.servers[0].url}/connect").status_code for _ in range(3)]
        assert refused == [503] * 3
        fleet.until(QUERY, lambda value: value is not None and value > 1.21 * 9)
    # One that cannot be scraped is taken for full; its streams are lost to the plain sum.
    fleet.servers[1].process.kill()
    assert fleet.until(NAIVE, lambda value: value == 3) == 3
    lost = fleet.value(QUERY)
    assert lost is not None
    assert lost >= 1.21 * 3 + SLOTS > SLOTS, "more than one replica's worth: none of the two goes"
    # Nothing to be scraped: no answer, which KEDA is told to take for an error and not for 0.
    fleet.servers[0].process.kill()
    fleet.until(QUERY, lambda value: value is None)
    trigger = named(built(FOLDER / "overlays/production"), "ScaledObject", "whisper-ops-server")["spec"]["triggers"][0]
    assert trigger["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.slow
def test_a_prometheus_that_knows_no_servers_gives_no_answer(tmp_path: Path) -> None:
    with running_prometheus(tmp_path, "global: {scrape_interval: 1s}\nscrape_configs: []\n") as url:
        assert asked(url, "query", query=QUERY)["result"] == []


def test_the_query_is_valid_and_the_manifest_has_it() -> None:
    spec = named(built(FOLDER / "overlays/production"), "ScaledObject", "whisper-ops-server")["spec"]
    assert spec["triggers"][0]["metadata"]["query"] == load_query(64)
    assert NAIVE in QUERY
