"""What is read of GPUs and of the machine, also where it is missing, wrong or hung."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from server.devices import WorkerDevice
from server.metrics.host_readings import HostReadings
from server.metrics.snapshot_builder import SnapshotBuilder
from server.sessions.hub import Hub
from server.settings import Settings
from tests.server.virtual import World, run
from tests.support.nvml import StubNvml
from whisper_ops.telemetry.host_meter import HostMeter
from whisper_ops.telemetry.nvml import Nvml, visible
from whisper_ops.telemetry.nvml_reading import GpuProcess, GpuReading
from whisper_ops.telemetry.nvml_watch import NvmlWatch

UUIDS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-bbbb", [1]),
        ("GPU-cccc-3,0", [2, 0]),
        ("1,7,0", [1]),
        ("GPU-", []),
        ("-1,0", []),
    ],
)
def test_gpus_are_numbered_as_cuda_numbers_them(chosen: str | None, found: list[int]) -> None:
    assert visible(UUIDS, [0, 1, 2], chosen) == found


class FakeNvml:
    """A library whose second GPU answers nothing but its name, as old boards do."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0

    def nvmlInit(self) -> None: ...  # noqa: N802  # NVML's own names

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802  # NVML's
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802  # NVML's
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:  # noqa: N802  # NVML's
        return UUIDS[handle].encode()

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802  # NVML's
        return f"Board {handle}"

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 << 30, used=20 << 30),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37, memory=21),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetPowerUsage": 250_500,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4 | 0x40,
            "nvmlDeviceGetTotalEccErrors": 0,
        }

        def ask(handle: int, *_: object) -> Any:
            if handle == 1:
                raise RuntimeError("Not Supported")
            return answers[name]

        return ask


def test_readings_are_in_base_units_and_what_is_not_said_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = Nvml(FakeNvml()).read()
    assert first.power_watts == 250.5
    assert first.sm_clock_hertz == 1.98e9
    assert first.throttle_reasons == ("sw_power_cap", "hw_thermal")
    assert first.ecc_errors == 0
    assert first.uuid == "GPU-aaaa-1"
    assert second.name == "Board 1"
    assert second.temperature_celsius is None
    assert second.throttle_reasons is None


def test_without_a_driver_there_are_no_readings() -> None:
    class Broken:
        def nvmlInit(self) -> None:  # noqa: N802  # NVML's
            raise OSError("no driver")

    assert Nvml(Broken()).read() == []


async def test_a_hung_driver_leaves_old_readings_and_hangs_nobody() -> None:
    answered, release = threading.Event(), threading.Event()

    def read() -> list[GpuReading]:
        if answered.is_set():
            release.wait(20)
        answered.set()
        return [GpuReading(at=1.0, name="Board")]

    watch = NvmlWatch(read, interval=0.01, deadline=0.05)
    task = asyncio.create_task(watch.run())
    await _until(lambda: watch.hung)
    assert watch.readings == [GpuReading(at=1.0, name="Board")]
    release.set()
    await _until(lambda: not watch.hung)
    task.cancel()


async def _until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def test_a_gpus_readings_stand_in_its_entry() -> None:
    async def main() -> None:
        watch = NvmlWatch(list)
        watch.readings = [
            GpuReading(at=0.0),
            GpuReading(at=0.0, name="H100", memory_total_bytes=80 * 10**9, memory_used_bytes=10**9),
        ]
        hub = Hub(Settings(devices=(WorkerDevice("cuda", 1),), model="m"))
        (gpu,) = SnapshotBuilder(hub, HostReadings(hub, watch)).gpu_status().gpus
        assert gpu.name == "H100"
        assert gpu.total_memory_gb == 80
        assert gpu.free_memory_gb == 79
        assert gpu.utilization_percent == 1.25
        assert gpu.temperature_celsius is None
        assert gpu.reading_age_seconds is not None

    run(main)


@pytest.mark.parametrize(
    ("running", "told", "busy"),
    [
        ([(100, "serve", 0.5)], (), 0.0),
        ([(100, "serve", 0.5), (7, "ffmpeg", 0.2), (8, None, 0.1)], ("ffmpeg (7)", "process (8)"), 0.3),
        ([(100, "serve", 0.5), (7, "ffmpeg", None)], ("ffmpeg (7)",), None),
        ([(7, "ffmpeg", 0.2)], None, None),  # in a container the driver's numbers are not ours: our own is not there
        (None, None, None),
    ],
)
def test_what_else_computes_on_a_gpu_is_told(
    running: list[tuple[int, str | None, float | None]] | None, told: tuple[str, ...] | None, busy: float | None
) -> None:
    async def main() -> None:
        watch = NvmlWatch(list)
        processes = None if running is None else tuple(GpuProcess(*one) for one in running)
        watch.readings = [GpuReading(at=0.0, name="H100", processes=processes)]
        hub = Hub(Settings(devices=(WorkerDevice("cuda", 0),), model="m"))
        hub.workers[0].pid = 100
        (gpu,) = SnapshotBuilder(hub, HostReadings(hub, watch)).gpu_status().gpus
        assert gpu.other_processes == told
        assert gpu.other_busy_ratio == (None if busy is None else pytest.approx(busy))

    run(main)


def test_a_lost_gpu_and_a_driver_that_differs_are_told_in_gpu_status(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        stub = StubNvml(*UUIDS[:2])
        nvml = Nvml(stub)
        watch = NvmlWatch(nvml.read, interval=0.01, trouble=lambda: nvml.trouble)
        hub = Hub(Settings(devices=(WorkerDevice("cuda", 0), WorkerDevice("cuda", 1)), model="m"))
        views = SnapshotBuilder(hub, HostReadings(hub, watch))
        assert views.gpu_status().reading_error is None, "nothing was read yet"
        task = asyncio.create_task(watch.run())
        await _until(lambda: watch.read_once)
        assert [gpu.reading_error for gpu in views.gpu_status().gpus] == [None, None]
        stub.lost.add(UUIDS[1])
        await _until(lambda: views.gpu_status().gpus[1].reading_error is not None)
        first, second = views.gpu_status().gpus
        assert (first.temperature_celsius, first.reading_error) == (61, None)
        assert (second.uuid, second.total_memory_gb, second.temperature_celsius) == (UUIDS[1], None, None)
        assert second.reading_error is not None
        assert "fell off the bus" in second.reading_error
        stub.broken = 18
        await _until(lambda: views.gpu_status().reading_error is not None)
        status = views.gpu_status()
        assert "version mismatch" in (status.reading_error or "")
        assert all("version mismatch" in (gpu.reading_error or "") for gpu in status.gpus)
        task.cancel()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asyncio.run(main())


async def test_a_driver_that_hangs_is_a_reason() -> None:
    release = threading.Event()

    def read() -> list[GpuReading]:
        release.wait(20)
        return []

    watch = NvmlWatch(read, interval=0.01, deadline=0.05)
    task = asyncio.create_task(watch.run())
    await _until(lambda: watch.hung)
    assert "has not answered for" in (watch.trouble or "")
    release.set()
    await _until(lambda: watch.trouble is None)
    task.cancel()


def test_on_a_cpu_memory_is_the_machines_and_gpu_fields_are_null() -> None:
    async def main() -> None:
        hub = Hub(Settings(devices=(WorkerDevice("cpu", 0),), model="m"))
        (gpu,) = SnapshotBuilder(hub, HostReadings(hub)).gpu_status().gpus
        assert gpu.name == "CPU"
        assert gpu.total_memory_gb is not None
        assert gpu.total_memory_gb > 0.5
        assert gpu.power_watts is gpu.gpu_utilization_percent is gpu.ecc_errors is None

    run(main)


def test_simulated_memory_follows_its_law() -> None:
    async def main() -> None:
        world = await World().ready()
        views = SnapshotBuilder(world.hub, HostReadings(world.hub))
        for _ in range(3):
            await world.client().connected()
        await asyncio.sleep(2)
        (gpu,) = views.gpu_status().gpus
        assert gpu.allocated_memory_gb == pytest.approx(
            (world.law.memory_base_bytes + 3 * world.law.memory_slope_bytes) / 1e9
        )
        await world.close()

    run(main)


def test_an_interface_that_is_taken_away_is_no_negative_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([(9_000_000, 9_000_000), (5_000_000, 8_999_999), (6_000_000, 9_000_100)])

    def counters() -> SimpleNamespace:
        received, sent = next(counted)
        return SimpleNamespace(bytes_recv=received, bytes_sent=sent)

    meter = HostMeter()
    monkeypatch.setattr("whisper_ops.telemetry.host_meter.psutil.net_io_counters", counters)
    read = [meter.read(()) for _ in range(3)]
    received = [host.network_receive_bytes_per_second for host in read]
    sent = [host.network_send_bytes_per_second for host in read]
    assert received[:2] == [None, None]
    assert sent[:2] == [None, 0.0]
    assert all(rate is not None and rate > 0 for rate in (received[2], sent[2]))


def test_the_machine_is_measured() -> None:
    meter = HostMeter()
    host = meter.read(())
    assert host.cpu_count
    assert host.memory_total_bytes
    assert host.memory_available_bytes
    assert host.memory_available_bytes < host.memory_total_bytes
    assert host.process_rss_bytes
    assert host.open_descriptors is None or host.open_descriptors > 0
