"""A GPU that cannot be read: its reason is on every screen, in /gpu-status, in doctor, in the history and an event."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pynvml
import pytest
from click.testing import CliRunner

from dashboard.chart_data import ChartData
from dashboard.fleet_state import FleetState
from dashboard.monitoring.change_events import ChangeEvents
from dashboard.polling.poller import Poller
from dashboard.polling.sources.local import LocalSource
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.gpu_page import gpu_page
from dashboard.tui.pages.server_page import server_page
from dashboard.world import World
from tests.dashboard.sockets import answering, http, listening, said
from tests.support.nvml import StubNvml
from whisper_ops import wire
from whisper_ops.cli import main
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.telemetry.nvml import Nvml

A, B = "GPU-aaaa-1", "GPU-bbbb-2"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubNvml]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stub = StubNvml(A, B)
    stub.lost.add(B)
    return stub


async def local(stub: StubNvml) -> Snapshot:
    poller = Poller(LocalSource(nvml=Nvml(stub)), deadline=10)
    snapshot = await poller.once()
    await poller.close()
    return snapshot


def world(snapshot: Snapshot) -> World:
    board = FleetState()
    board.take(snapshot)
    return board.world(snapshot.at)


async def test_a_lost_gpu_is_on_every_screen_beside_the_other(stub: StubNvml) -> None:
    snapshot = await local(stub)
    assert [(gpu.uuid, gpu.temperature_celsius) for gpu in snapshot.gpus] == [(A, 61), (None, None)]
    now = world(snapshot)
    for text in (
        fleet_page(now, FleetView(), 119).text,
        server_page(now, "local", ChartData(), 119).text,
        gpu_page(now, "local", 1, ChartData(), 119).text,
    ):
        assert "cannot be read: it is lost" in " ".join(text.split())
    assert "cannot be read" not in gpu_page(now, "local", 0, ChartData(), 119).text


async def test_versions_that_differ_are_on_screen_and_said_once_as_an_event(stub: StubNvml) -> None:
    stub.broken = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    snapshot = await local(stub)
    assert "no GPU can be read: version mismatch" in fleet_page(world(snapshot), FleetView(), 119).text
    events = ChangeEvents()
    (first,) = events.take(snapshot)
    assert (first.kind, first.detail[:41]) == ("unreadable", "no GPU can be read: version mismatch: NVI")
    assert events.take(snapshot) == []
    stub.broken = None
    stub.lost.clear()
    (back,) = events.take(await local(stub))
    assert (back.kind, back.detail) == ("readable", "no GPU can be read: readings are back")


async def test_a_machine_without_a_driver_is_not_broken(stub: StubNvml) -> None:
    stub.broken = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    snapshot = await local(stub)
    assert snapshot.figures is not None
    assert snapshot.figures.reading_error is None


async def test_the_reason_comes_over_the_wire_and_back_out_of_the_history(tmp_path: Path) -> None:
    told = said()
    first, second = told.gpu_status.gpus
    second = msgspec.structs.replace(second, reading_error="it is lost")
    told = msgspec.structs.replace(told, gpu_status=msgspec.structs.replace(told.gpu_status, gpus=(first, second)))
    async with listening(answering(lambda: http(wire.encode(told)))) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}", name="one")
        snapshot = await source.read()
        await source.close()
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add([snapshot])
        (stored,) = history.polls.between("one", 0, 1e12)
    assert [gpu.reading_error for gpu in stored.gpus] == [None, "it is lost"]


def test_doctor_says_which_gpu_and_why(stub: StubNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capacity.hosts.accelerator.Nvml", lambda: Nvml(stub))
    result = CliRunner().invoke(main, ["doctor"])
    assert "GPU 1 cannot be read: it is lost" in result.output
    assert "no NVIDIA driver" not in result.output
    found = msgspec.json.decode(CliRunner().invoke(main, ["doctor", "--json"]).stdout)["accelerator"]
    assert (found["driver"], found["gpus"]) == ("570.133.20", ["NVIDIA H100 80GB HBM3"])
    stub.broken = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    result = CliRunner().invoke(main, ["doctor"])
    assert "no GPU can be used: version mismatch" in result.output
    assert "no NVIDIA driver" not in result.output


def test_dash_once_says_it_on_stderr(stub: StubNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.polling.sources.local.Nvml", lambda: Nvml(stub))
    result = CliRunner().invoke(main, ["dash", "local", "--once"])
    assert "local: GPU 1 cannot be read: it is lost" in result.stderr
    assert result.exit_code == 0
