"""From the rows of an exporter to figures, as the catalogue or a user's mapping says.

Wherever rows come from, a page that was scraped or a Prometheus that was asked, they are read here and in no other way.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from whisper_ops.exporters.device_rows import Combine, DeviceRows, texts
from whisper_ops.exporters.mapping import UNITS, FigureMapping, Mapping, Part, rated
from whisper_ops.exporters.text_format import Page
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot
from whisper_ops.telemetry.nvml_reading import THROTTLES
from whisper_ops.units import whole

Blank = Callable[[float], bool]

_BLANKS: dict[str, Blank] = {
    "": lambda value: not math.isfinite(value),
    # dcgm_fields.h: the four highest numbers of 32 and 64 bits and 2^47, "blank", "not found", "not supported" and "no
    # permission" in this order. As a float 2^63 - 2 is 2^63; unsigned ones are what NVML says for N/A.
    "dcgm": lambda value: (
        not math.isfinite(value)
        or value >= 2.0**62
        or 0x7FFFFFF0 <= value <= 0x7FFFFFFF
        or 0xFFFFFFF0 <= value <= 0xFFFFFFFF
        or 2.0**47 <= value < 2.0**47 + 16
    ),
}


class FigureReader:
    """Makes snapshots of one exporter's rows. It keeps the numbers of its devices, and nothing else."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._devices = DeviceRows(mapping)
        self._blank = _BLANKS[mapping.blanks]

    def snapshot(self, name: str, page: Page, at: float, seconds: float | None = None) -> Snapshot:
        """The figures of one moment, with the rates of what counts up; `seconds` is how long it took to get them."""
        identity = {"software": self._mapping.software, **self._part("identity", page)}
        host = self._part("host", page)
        gpus = tuple(self._gpus(page))
        server = self._part("server", page)
        if gpus and "gpus" not in self._mapping.parts.get("server", {}):
            server["gpus"] = len(gpus)
        return Snapshot(
            server=name,
            at=at,
            poll_seconds=seconds,
            identity=_struct(identity, Identity),
            figures=_struct(server, ServerFigures),
            gpus=gpus,
            host=_struct(host, HostFigures) if host else None,
        )

    def _gpus(self, page: Page) -> Iterator[GpuFigures]:
        fields = self._mapping.parts.get("gpu", {})
        if self._mapping.gpu_label is None or not fields:
            return
        metrics = sorted(name for given in fields.values() for field in given for name in field.rows)
        for number, _, own in self._devices.of(page, metrics):
            yield _struct({"gpu_id": number, **self._part("gpu", own)}, GpuFigures)

    def _part(self, part: Part, page: Page) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, fields in self._mapping.parts.get(part, {}).items():
            value = next((figure for field in fields if (figure := self._figure(field, page)) is not None), None)
            if value is not None:
                found[name] = value
        return found

    def _figure(self, field: FigureMapping, page: Page) -> float | str | None:
        if field.quantile is not None:
            return _quantile(field, page)
        if field.label is not None:
            chosen = [row for metric in field.metrics for row in page.get(metric, []) if _chosen(row.labels, field)]
            return " + ".join(sorted(set(texts(chosen, field.label)))) or None
        values = [self._metric(field, name, page) for name in (field.metric, *field.plus)]
        more = [self._metric(field, name, page) for name in field.plus_if_there]
        if any(value is None for value in values):
            return None
        if field.bits:
            bits = int(math.fsum(value for value in values if value is not None))
            return ",".join(word for bit, word in THROTTLES.items() if bits & bit)
        value = math.fsum(value for value in (*values, *more) if value is not None) * UNITS[field.unit]
        return 1 - value if field.complement else value

    def _metric(self, field: FigureMapping, metric: str, page: Page) -> float | None:
        """One figure of all rows of a metric; None where there is none, or where a sum would lack one of its parts."""
        rows = page.get(rated(metric) if field.rate else metric, [])
        chosen = [row for row in rows if _chosen(row.labels, field)]
        values = [(row.labels, None if self._blank(row.value) else row.value) for row in chosen]
        if field.rate:
            # A counter that is new on this page, or began again, lacks a rate for one poll; the others' sum stands.
            values = [(labels, value) for labels, value in values if value is not None]
        if field.bits:
            bits = [int(value) for _, value in values if value is not None]
            return float(functools.reduce(operator.or_, bits)) if bits else None
        mapping = self._mapping
        instances = field.instances or field.aggregate
        return Combine(field.aggregate, instances, mapping.gpu_instance, mapping.gpu_instance_size).figure(values)


def _quantile(field: FigureMapping, page: Page) -> float | None:
    """Linear within its bucket, as Prometheus' histogram_quantile does."""
    assert field.quantile is not None
    bounds: dict[float, float] = {}
    for labels, value in page.get(rated(f"{field.metric}_bucket"), []):
        bound = _bound(labels)
        if bound is not None and _chosen(labels, field):
            bounds[bound] = bounds.get(bound, 0.0) + value
    cumulated = sorted(bounds.items())
    if not cumulated or not cumulated[-1][1] or any(math.isnan(count) for _, count in cumulated):
        return None
    rank, below, low = field.quantile * cumulated[-1][1], 0.0, 0.0
    for bound, count in cumulated:
        if count >= rank:
            # In the last bucket its lower bound is all that is known: "at least this".
            share = (rank - below) / (count - below) if count > below else 1.0
            return (low if math.isinf(bound) else low + (bound - low) * share) * UNITS[field.unit]
        below, low = count, bound
    return None


def _bound(labels: dict[str, str]) -> float | None:
    try:
        return float(labels["le"])
    except (KeyError, ValueError):
        return None


def _chosen(labels: dict[str, str], field: FigureMapping) -> bool:
    return all(labels.get(name) == value for name, value in field.labels.items()) and not any(
        labels.get(name) == value for name, value in field.without.items()
    )


def _struct(values: dict[str, Any], kind: type[Any]) -> Any:  # noqa: ANN401  # the struct asked for
    for field in msgspec.structs.fields(kind):
        value = values.get(field.name)
        if field.type in {int, int | None} and value is not None:
            values[field.name] = whole(value) if isinstance(value, str) else round(value)
        elif field.type is bool and value is not None:
            values[field.name] = value == "true"
    return kind(**values)
