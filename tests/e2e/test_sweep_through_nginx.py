"""A real sweep through a real nginx over three real servers, and the plan that is made of it. Simulated engines."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from capacity.commands.sweep import command as sweep
from capacity.loadtest import audit, level_runner
from tests.support.programs import nginx, tool
from tests.support.servers import Running, running_server, whisper_ops

SERVERS, SLOTS = 3, 3
SIMULATED = (
    *("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.02,b=0.005"),
    *("--max-connections-per-gpu", str(SLOTS), "--when-full", "503"),
)
OBJECTIVE = "stable_p95<=30s, connected>=99.9%"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How punctual the generator is, is up to what else this machine does."""
    for module in (audit, level_runner):
        monkeypatch.setattr(module, "LATE_SECONDS", 30.0)


def swept(folder: Path, url: str, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        sweep,
        [
            *("run", url, "--json", "--duration", "4", "--chunk", "400", "--no-warm-up", "--objective", OBJECTIVE),
            *("--history", str(folder / "history.db"), *arguments),
        ],
        standalone_mode=False,
    )
    assert done.exception is None, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def used(server: Running) -> int:
    return int(server.get("/health")["capacity"]["used_slots"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_connections_are_counted_by_server_and_gpu_and_planned_from(tmp_path: Path) -> None:
    tool("nginx")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED)) for _ in range(SERVERS)]
        url = f"http://127.0.0.1:{stack.enter_context(nginx(tmp_path, servers))}"
        names = sorted(server.get("/snapshot")["server_id"] for server in servers)
        said = swept(tmp_path, url, "--levels", "6,9,12")
        assert [used(server) for server in servers] == [0, 0, 0]

    six, nine, twelve = said["levels"]
    assert [level["servers"] for level in (six, nine)] == [3, 3]
    assert [level["gpus"] for level in (six, nine)] == [3, 3]
    assert said["placement"]["6"] == {f"{name} GPU 0": 2 for name in names}
    assert said["placement"]["9"] == {f"{name} GPU 0": 3 for name in names}
    assert (six["gpu_spread"], nine["gpu_spread"]) == (0, 0)
    assert (six["passed"], nine["passed"], twelve["passed"]) == (True, True, False)

    history = ("--history", str(tmp_path / "history.db"))
    planned = whisper_ops("plan", "--json", *history)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["key"]["servers"], plan["key"]["gpus"]) == (3, 3)
    # Twelve are more than the slots: that the servers refuse some is no miss of the device.
    assert (plan["capacity"]["last_pass"], plan["capacity"]["first_fail"]) == (3, None)
    assert plan["max_connections_per_gpu"] <= SLOTS
    assert any("3 servers with 3 GPUs" in note for note in plan["notes"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_with_and_without_connect_a_sweep_measures_the_same_limit(tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED[:-4], "--max-connections-per-gpu", "4") as server:
        answers = [
            [
                (level["streams"], level["passed"], level["connected"], level["refused"], level["failed"])
                for level in swept(tmp_path, server.url, "--fresh", "--levels", "2,4", *more)["levels"]
            ]
            for more in ((), ("--connect",))
        ]
        performance = server.get("/performance")
    assert answers[0] == answers[1] == [(2, True, 2, 0, 0), (4, True, 4, 0, 0)]
    assert performance["tickets_abandoned_total"] == 0
    assert performance["tickets_used_total"] >= 6
