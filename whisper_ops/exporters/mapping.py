"""Mapping files: which metric of a Prometheus page is which figure, and in which unit the exporter gives it.

Exporters disagree: MiB or bytes, mJ or W, percent or ratio. A mapping names the unit; figures are always in base units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures
from whisper_ops.toml_lines import TomlFile
from whisper_ops.units import unit_of

_NAMED = [
    "B",
    "kB",
    "MB",
    "GB",
    "KiB",
    "MiB",
    "GiB",
    "s",
    "ms",
    "us",
    "ns",
    "ratio",
    "percent",
    "Hz",
    "kHz",
    "MHz",
    "GHz",
    "W",
    "mW",
    "celsius",
]
UNITS: dict[str, float] = {
    "": 1.0,
    **{name: unit.factor for name in _NAMED if (unit := unit_of(name)) is not None},
    "J": 1.0,  # of which the rate is watts
    "mJ": 1e-3,
}
"""What a value in the exporter's unit is multiplied with."""

Part = Literal["identity", "server", "gpu", "host"]
FIGURES: dict[Part, type[msgspec.Struct]] = {
    "identity": Identity,
    "server": ServerFigures,
    "gpu": GpuFigures,
    "host": HostFigures,
}


Aggregate = Literal["sum", "max", "min", "mean", "count"]


class FigureMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one figure comes from."""

    metric: str
    plus: tuple[str, ...] = ()
    """Metrics that are added to it; where one of them is missing or blank the figure is unknown."""
    plus_if_there: tuple[str, ...] = ()
    """Metrics that are added where the exporter has them."""
    labels: dict[str, str] = {}
    """Only series with these labels."""
    without: dict[str, str] = {}
    """No series with any of these labels."""
    aggregate: Aggregate = "sum"
    """What becomes of several series of one metric."""
    instances: Aggregate | None = None
    """What becomes of the instances of a device that has no series of its own; None: the same."""
    unit: str = ""
    rate: bool = False
    """The metric counts up; the figure is its increase a second since the poll before."""
    complement: bool = False
    """1 minus it: busy out of idle."""
    quantile: float | None = None
    """The metric is a histogram in seconds; the figure is this quantile of what was counted since the poll before."""
    label: str | None = None
    """The figure is a text: the value of this label."""
    bits: Literal["", "nvml-throttle"] = ""
    """The value is a set of bits, which becomes a list of words."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that it is made of."""
        return (self.metric, *self.plus, *self.plus_if_there)

    @property
    def counted(self) -> tuple[str, ...]:
        """Those of which it needs what was counted in some time; a histogram is spread over its buckets."""
        if self.quantile is not None:
            return (f"{self.metric}_bucket",)
        return self.metrics if self.rate else ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of a page that it is made of."""
        return tuple(rated(metric) for metric in self.counted) or self.metrics


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """A whole mapping: what each part of a snapshot is read from."""

    path: str = "/metrics"
    software: str | None = None
    gpu_label: str | None = None
    """The label that tells GPUs apart: those of one machine, or with `gpu_host` those of several."""
    gpu_number: str | None = None
    """The label with their numbers; None: `gpu_label` itself, where it is a number."""
    gpu_host: str | None = None
    """The label that names the machine a GPU is in."""
    gpu_instance: str | None = None
    """The label that names a part of a GPU (MIG); series without it are of the whole GPU."""
    gpu_instance_size: str | None = None
    """The label that begins with how many parts of the GPU an instance has, by which a mean of instances weighs."""
    blanks: Literal["", "dcgm"] = ""
    """Numbers by which the exporter says that it does not know."""
    parts: dict[Part, dict[str, tuple[FigureMapping, ...]]] = {}
    """Of each figure the fields it may come from: the first that is known is taken."""

    def metrics(self) -> set[str]:
        """Every metric name that is looked at, with those that a histogram is spread over."""
        return {name for field in self.fields() for name in (field.counted or field.metrics)}

    def counted(self) -> set[str]:
        """Those of which it needs what was counted in some time."""
        return {name for field in self.fields() for name in field.counted}

    def fields(self) -> Iterator[FigureMapping]:
        """Every field of every figure."""
        return (field for part in self.parts.values() for fields in part.values() for field in fields)


def rated(metric: str) -> str:
    """What the rows of a page are called that hold what a metric counts a second."""
    return f"{metric} a second"


_WORDS = ("path", "software", "gpu_label", "gpu_number", "gpu_host", "gpu_instance", "gpu_instance_size")


def load(path: Path) -> Mapping:
    """Read a mapping file.

    Raises:
        UserError: it cannot be read, or something in it is wrong; with its line.
    """
    file = TomlFile(path)
    known = (*sorted(get_args(Part)), *_WORDS, "blanks")
    for key in file.tables:
        if key not in known:
            raise file.wrong(f"there is no [{key}] in a mapping; there are {', '.join(known)}", key)
    parts = {part: dict(_fields(file, part)) for part in FIGURES}
    words: dict[str, str] = {}
    for key in (key for key in _WORDS if key in file.tables):
        if not isinstance(file.tables[key], str):
            raise file.wrong(f'{key} is a text, as in {key} = "…"', key)
        words[key] = file.tables[key]
    if parts["gpu"] and "gpu_label" not in words:
        raise file.wrong('[gpu] needs gpu_label = "…" at the top: the label that tells GPUs apart', "gpu")
    blanks = file.tables.get("blanks", "")
    if blanks not in {"", "dcgm"}:
        raise file.wrong(f'blanks may be "dcgm", not {blanks!r}', "blanks")
    return Mapping(**words, blanks=blanks, parts=parts)


def _fields(file: TomlFile, part: Part) -> Iterator[tuple[str, tuple[FigureMapping, ...]]]:
    figures = {field.name: field.type for field in msgspec.structs.fields(FIGURES[part])}
    table: dict[str, Any] = file.tables.get(part, {})
    for name, value in table.items():
        if name not in figures or name in {"gpu_id", "lag_bucket_counts"}:
            raise file.wrong(f"there is no figure [{part}] {name}", part, key=name)
        values = value if isinstance(value, list) else [value]
        yield name, tuple(_field(file, part, name, value) for value in values)


def _field(file: TomlFile, part: Part, name: str, value: object) -> FigureMapping:
    try:
        field = msgspec.convert({"metric": value} if isinstance(value, str) else value, FigureMapping)
    except msgspec.ValidationError as error:
        raise file.wrong(f"[{part}] {name}: {error}", part, key=name) from error
    if field.unit not in UNITS:
        units = ", ".join(unit for unit in UNITS if unit)
        raise file.wrong(f"[{part}] {name}: there is no unit {field.unit!r}; there are {units}", part, key=name)
    return field
