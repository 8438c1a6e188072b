"""A reading of a GPU is named once: whatever the driver is asked goes to the wire, the history and the screens."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dashboard.alerts.rule_figures import known_figure
from server.metrics.openmetrics import own
from whisper_ops import wire
from whisper_ops.history import History
from whisper_ops.snapshot import GpuFigures, from_wire
from whisper_ops.telemetry.nvml_reading import GpuReading

NAMES = wire.DeviceReadings.__struct_fields__
FIGURES: dict[str, Any] = {name: 0.1 * (at + 1) for at, name in enumerate(NAMES)}
SAID = wire.GpuEntry(gpu_id=0, active_connections=0, **FIGURES)


def test_each_is_explained() -> None:
    assert set(wire.READINGS_HELP) == set(NAMES)


@pytest.mark.parametrize("kind", [GpuReading, wire.GpuEntry, GpuFigures])
def test_driver_wire_and_poll_have_the_same(kind: type[msgspec.Struct]) -> None:
    assert issubclass(kind, wire.DeviceReadings)


@pytest.mark.parametrize("name", NAMES)
def test_it_comes_from_the_wire_into_a_file_and_back(name: str, tmp_path: Path) -> None:
    said = wire.ServerSnapshot(
        health=wire.Health(
            status="healthy",
            timestamp=1.0,
            capacity=wire.SlotCapacity(total_slots=1, used_slots=0, available_slots=1, utilization_percent=0.0),
            gpus=wire.GpuCount(total=1, with_connections=0),
            performance=wire.HealthPerformance(total_completed_connections=0, active_connections=0),
        ),
        gpu_status=wire.GpuStatus(total_gpus=1, total_connections=0, max_connections_per_gpu=1, gpus=(SAID,)),
        performance=wire.Performance(total_completed_connections=0, active_connections=0),
        host=wire.Host(),
        engine=wire.EngineEntry(name="e", model="m", max_batch=1),
        version="1",
    )
    polled = from_wire("a", 60.0, 0.1, said)
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        history.polls.add([polled])
        (stored,) = history.polls.between("a", 0.0, 100.0)
    assert getattr(stored.gpus[0], name) == getattr(polled.gpus[0], name) is not None
    assert known_figure(f"gpu.{name}"), "alert rules may name it"
    families = {family.name: family for family in own(said).collect()}
    assert families[f"whisper_ops_gpu_{name}"].samples[0].value == getattr(SAID, name)
