"""NVML as it fails in the field: each GPU apart, what failed tried again, every reason in a sentence."""

import os
import threading

import psutil
import pynvml
import pytest

from tests.support.nvml import GB, StubNvml
from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuReading

A, B, C = "GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def told(readings: list[GpuReading]) -> list[tuple[str | None, float | None, bool]]:
    return [(reading.uuid, reading.temperature_celsius, reading.error is not None) for reading in readings]


@pytest.mark.parametrize("error", [15, 16, 999, 10])
@pytest.mark.parametrize("at_start", [True, False])
def test_a_lost_gpu_hides_no_other_and_comes_back(error: int, at_start: bool) -> None:
    stub, clock = StubNvml(A, B), Clock()
    nvml = Nvml(stub, clock)
    stub.error, stub.handles_of_lost = error, not at_start
    if not at_start:
        nvml.read()
    stub.lost.add(B)
    first, second = nvml.read()
    assert (first.uuid, first.temperature_celsius, first.error) == (A, 61, None)
    assert (first.gpu_utilization_percent, first.memory_busy_ratio) == (37, 0.21)
    assert second.temperature_celsius is second.memory_used_bytes is None
    assert second.error is not None
    assert nvml.trouble is None, "the driver works"
    if error == 15:
        assert "fell off the bus" in second.error
    if not at_start:
        assert (second.uuid, second.name, second.memory_total_bytes) == (B, "NVIDIA H100 80GB HBM3", 80 * GB)
    stub.lost.clear()
    clock.now += 60
    assert told(nvml.read()) == [(A, 61, False), (B, 61, False)]


def test_what_a_gpu_does_not_have_is_unknown_and_no_fault() -> None:
    (reading,) = Nvml(StubNvml(A)).read()
    assert reading.ecc_errors is None
    assert reading.error is None
    assert reading.throttle_reasons == ("sw_power_cap",)


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND])
def test_a_driver_that_comes_three_seconds_later_is_seen(error: int) -> None:
    stub, clock = StubNvml(A), Clock()
    stub.broken = error
    nvml = Nvml(stub, clock)
    assert nvml.read() == []
    assert str(nvml.trouble) != "None"
    assert nvml.missing == (error == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    clock.now += 3
    stub.broken = None
    clock.now += 2
    assert told(nvml.read()) == [(A, 61, False)]
    assert nvml.trouble is None
    assert nvml.driver == "570.133.20"


def test_a_start_that_fails_is_tried_with_growing_pauses() -> None:
    stub, clock = StubNvml(A), Clock()
    stub.broken = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    nvml = Nvml(stub, clock)
    for _ in range(600):
        nvml.read()
        clock.now += 0.5
    assert 10 <= stub.starts <= 20, "in five minutes"


def test_versions_that_differ_are_said_and_a_reboot_is_the_way_out() -> None:
    stub = StubNvml(A)
    stub.broken = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    nvml = Nvml(stub)
    assert nvml.read() == []
    assert nvml.trouble is not None
    assert "version mismatch" in nvml.trouble
    assert "reboot" in nvml.trouble
    assert not nvml.missing


def test_a_driver_replaced_under_us_keeps_the_gpus_with_the_reason_and_is_found_again() -> None:
    stub, clock = StubNvml(A, B), Clock()
    nvml = Nvml(stub, clock)
    nvml.read()
    stub.broken = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    for _ in range(3):
        readings = nvml.read()
        assert told(readings) == [(A, None, True), (B, None, True)]
        assert all("version mismatch" in (reading.error or "") for reading in readings)
        clock.now += 1
    stub.broken = None
    clock.now += 60
    assert told(nvml.read()) == [(A, 61, False), (B, 61, False)]


def test_a_gpu_that_the_driver_lists_no_more_keeps_its_place() -> None:
    stub, clock = StubNvml(A, B, C), Clock()
    nvml = Nvml(stub, clock)
    nvml.read()
    stub.broken = pynvml.NVML_ERROR_UNINITIALIZED
    nvml.read()
    stub.broken = None
    stub.uuids.remove(A)
    clock.now += 60
    assert told(nvml.read()) == [(A, None, True), (B, 61, False), (C, 61, False)]
    stub.uuids.insert(0, A)
    clock.now += 60
    assert told(nvml.read()) == [(A, 61, False), (B, 61, False), (C, 61, False)]


def test_a_driver_without_gpus_is_asked_again() -> None:
    stub, clock = StubNvml(), Clock()
    nvml = Nvml(stub, clock)
    assert nvml.read() == []
    assert nvml.trouble == "the NVIDIA driver lists no GPU"
    stub.uuids.append(A)
    clock.now += 60
    assert told(nvml.read()) == [(A, 61, False)]


def test_a_chosen_gpu_that_is_lost_is_a_line_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubNvml(A, B)
    stub.lost, stub.handles_of_lost = {B}, False
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{A},{B}")
    first, second = Nvml(stub).read()
    assert first.error is None
    assert second.uuid == B
    assert "it is lost" in (second.error or "")
    stub.uuids.remove(B)
    assert Nvml(stub).read()[1].error == "the driver lists no such GPU"
    stub.uuids.append(B)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    first, second = Nvml(stub).read()
    assert ("lost" in (first.error or ""), second.uuid, second.error) == (True, A, None)


def test_the_real_library_on_a_machine_without_a_driver_says_so() -> None:
    nvml = Nvml()
    if nvml.read():
        pytest.skip("this machine has a GPU")
    assert nvml.trouble is not None


def test_a_command_that_asks_once_does_not_hang_with_the_driver() -> None:
    release = threading.Event()

    class Hanging(StubNvml):
        def nvmlInit(self) -> None:  # noqa: N802  # NVML's
            release.wait(30)

    nvml = Nvml(Hanging(A))
    assert nvml.read_once(0.1) == []
    assert "has not answered for" in (nvml.trouble or "")
    release.set()
    assert told(Nvml(StubNvml(A)).read_once()) == [(A, 61, False)]


def test_who_computes_on_a_gpu_is_told_with_the_share_of_each() -> None:
    stub = StubNvml(A)
    stub.running = [os.getpid(), 4_000_000]
    stub.samples = [(os.getpid(), 30), (os.getpid(), 50), (4_000_000, 10), (4_000_000, 4_000_000)]
    (reading,) = Nvml(stub).read()
    assert reading.processes is not None
    ours, gone = reading.processes
    assert ours.pid == os.getpid()
    assert ours.busy_ratio == pytest.approx(0.4)
    assert ours.title == f"{psutil.Process().name()} ({os.getpid()})"
    assert gone.title == "process (4000000)"
    assert gone.busy_ratio == pytest.approx(0.1)


@pytest.mark.parametrize(("answer", "share"), [(6, 0.0), (3, None), (4, None)])
def test_a_driver_that_tells_no_shares_still_tells_who(answer: int, share: float | None) -> None:
    stub = StubNvml(A)
    stub.running, stub.samples = [4_000_000], answer
    (reading,) = Nvml(stub).read()
    assert reading.processes is not None
    assert [one.busy_ratio for one in reading.processes] == [share]
    assert reading.error is None
