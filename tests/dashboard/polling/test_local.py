"""This machine is watched with no server at all; a driver that hangs is one server's silence."""

import asyncio
import threading
from collections.abc import Iterator

import psutil
import pytest

from dashboard.polling.poller import Poller
from dashboard.polling.server_list import from_argument
from dashboard.polling.sources.factory import make
from dashboard.polling.sources.local import LocalSource
from whisper_ops.snapshot_client.source import SourceError
from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuReading


class Readings(Nvml):
    """NVML as a machine with two GPUs answers, or as a driver that hangs."""

    def __init__(self, hanging: threading.Event | None = None) -> None:
        super().__init__()
        self._hanging = hanging

    def read(self) -> list[GpuReading]:
        if self._hanging is not None:
            self._hanging.wait(30)
        return [
            GpuReading(at=0, name="H100", uuid="GPU-a", gpu_utilization_percent=37, throttle_reasons=("hw_thermal",)),
            GpuReading(at=0, name="H100", uuid="GPU-b"),
        ]


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_the_machine_is_read_in_base_units() -> None:
    source = LocalSource(nvml=Readings())
    await source.read()
    await asyncio.sleep(0.1)
    snapshot = await source.read()
    await source.close()
    assert snapshot.server == "local"
    assert snapshot.host is not None
    assert snapshot.host.memory_total_bytes == psutil.virtual_memory().total
    assert snapshot.host.cpu_ratio is not None
    assert 0 <= snapshot.host.cpu_ratio <= 1
    assert snapshot.host.process_rss_bytes is None  # it would be the dashboard's own
    assert [gpu.uuid for gpu in snapshot.gpus] == ["GPU-a", "GPU-b"]
    assert (snapshot.gpus[0].gpu_ratio, snapshot.gpus[0].throttle_reasons) == (0.37, "hw_thermal")
    assert (snapshot.gpus[1].gpu_ratio, snapshot.gpus[1].throttle_reasons) == (None, None)


async def test_a_driver_that_hangs_is_a_silence_and_is_not_asked_twice(hang: threading.Event) -> None:
    source = LocalSource(nvml=Readings(hang))
    poller = Poller(source, deadline=0.05)
    assert "no answer within" in str((await poller.once()).error)
    with pytest.raises(SourceError, match="NVML does not answer"):
        await source.read()
    hang.set()
    await source.close()


async def test_local_is_an_argument_like_any_other() -> None:
    source = make(from_argument("here=local"))
    assert (await source.read()).server == "here"
    await source.close()
