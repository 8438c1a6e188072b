"""A failed measurement is not a failed server, and a server that fails says so to whoever started it."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from server.metrics.host_readings import HostReadings
from server.metrics.snapshot_builder import SnapshotBuilder
from tests.server.virtual import World, run
from tests.support.servers import free_port
from whisper_ops.telemetry.host_meter import HostMeter


def _no_descriptors(*_: Any, **__: Any) -> Any:
    raise OSError(24, "Too many open files")


_READINGS = ["cpu_percent", "getloadavg", "virtual_memory", "net_io_counters", "Process"]


@pytest.mark.parametrize("reading", _READINGS)
@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), psutil.AccessDenied(1), ValueError("no number")])
def test_each_reading_fails_alone_and_is_unknown(
    reading: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    meter = HostMeter()
    time.sleep(0.1)  # over less the kernel's figures say nothing of processor time
    meter.read(())
    time.sleep(0.1)
    monkeypatch.setattr(psutil, reading, broken)
    host = meter.read(())
    assert meter.failures > 0
    assert meter.trouble is not None
    figures = {
        "cpu_percent": host.cpu_ratio,
        "getloadavg": host.load_1m,
        "virtual_memory": host.memory_available_bytes,
        "net_io_counters": host.network_receive_bytes_per_second,
        "Process": host.open_descriptors,
    }
    assert [name for name, value in figures.items() if value is None] == [reading]
    assert HostMeter().read(()).hostname


def test_a_server_serves_on_without_any_reading_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        world = await World().ready()
        readings = HostReadings(world.hub)
        views = SnapshotBuilder(world.hub, readings)
        for reading in _READINGS:
            monkeypatch.setattr(psutil, reading, _no_descriptors)
        monkeypatch.setattr(HostReadings, "refresh", _after(HostReadings.refresh, 1))
        import asyncio

        task = asyncio.create_task(readings.run())
        client = await world.client().connected()
        await client.speak(3.0)
        await client.end()
        assert client.close_code == 1000
        assert not task.done()
        snapshot = views.snapshot()
        assert snapshot.host.cpu_ratio is None
        assert snapshot.performance.telemetry_errors_total >= 3 * len(_READINGS)
        task.cancel()
        await world.close()

    run(main)


def _after(read: Callable[[HostReadings], None], good: int) -> Callable[[HostReadings], None]:
    left = [good]

    def wrapped(readings: HostReadings) -> None:
        read(readings)
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("a measurement in pieces")

    return wrapped


_BROKEN = """
import sys
from server.sessions.hub import Hub
from whisper_ops.cli import main
async def broken(hub):
    raise RuntimeError("a flaw")
Hub._every_second = broken
sys.argv = ["whisper-ops", *sys.argv[1:]]
main()
"""


def test_a_server_that_ends_by_itself_has_failed() -> None:
    command = [sys.executable, "-c", _BROKEN, "serve", "--engine", "simulated", "--devices", "sim:1"]
    done = subprocess.run(
        [*command, "--port", str(free_port())], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "a task of the server failed (" in done.stderr
