"""Any Prometheus text endpoint, read through a mapping."""

import functools
import math
import operator
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from whisper_ops.exporters.counters import Counters
from whisper_ops.exporters.devices import Combine, Device, Devices, Page, Series, texts
from whisper_ops.exporters.mapping import UNITS, Field, Mapping, Part
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot
from whisper_ops.snapshot_client.snapshot_endpoint import address
from whisper_ops.snapshot_client.source import Remarks, SourceError
from whisper_ops.snapshot_client.web import Access, Web
from whisper_ops.telemetry.nvml import THROTTLES

MAX_SERIES = 20_000
"""Rows that a mapping looks for: 1,024 GPUs of 16 figures; reading them takes half a second."""
MAX_LINES = 400_000
"""Of a page of 16 MiB, with comments; a node exporter's has 2,000."""
MAX_LINE = 16_384
"""Characters of a row with all its labels; a longer one is no row of an exporter."""


class PrometheusSource:
    """Polls the mapping's path at `url`, or `url` itself when it has a path."""

    def __init__(self, url: str, mapping: Mapping, *, name: str | None = None, access: Access | None = None) -> None:
        self.name = name or address(url)
        self.remarks = Remarks()
        parts = urlsplit(url)
        # An address with a path of its own, as http://host:9100/metrics, says where the page is.
        self._path = parts.path if parts.path not in {"", "/"} else mapping.path
        self._web = Web(f"{parts.scheme}://{parts.netloc}", access)
        self._mapping = mapping
        self._wanted = mapping.metrics()
        self._reader = _Reader(mapping)

    async def read(self) -> Snapshot:
        """One poll. Rates and quantiles are known from the second one on."""
        began = time.perf_counter()
        answer = await self._web.get(self._path)
        at, moment = time.time(), time.monotonic()
        page = await self._web.parsed(answer, lambda: self._parse(answer.body, answer.content_type))
        return self._reader.snapshot(self.name, page, at, moment, time.perf_counter() - began)

    async def close(self) -> None:
        """Close its connection."""
        await self._web.close()

    def _parse(self, body: bytes, content_type: str) -> Page:
        text = body.decode("utf-8", "replace")
        if "html" in content_type or text[:1000].lstrip()[:1] == "<":
            raise SourceError(f"{self.name} answered HTML, not a Prometheus page; is another program listening there?")
        page = parse(text, self._wanted, self.remarks, self.name)
        if not page:
            raise SourceError(f"{self.name} ({self._path}) has none of the metrics that its mapping looks for")
        return page


def parse(text: str, wanted: set[str], remarks: Remarks, name: str) -> Page:
    """The wanted series of a page. A line that is none is said once and counted; the others are read.

    Raises:
        SourceError: there are more of them than any exporter has.
    """
    if text.count("\n") > MAX_LINES:
        raise SourceError(f"{name} sent a page of more than {MAX_LINES:,} lines")
    # A page has thousands of lines, a mapping some ten metrics: only their lines go through the full parser.
    lines = [line for line in text.split("\n") if line[:1] not in {"", "#"} and _metric(line) in wanted]
    if len(lines) > MAX_SERIES:
        raise SourceError(
            f"{name} sent {len(lines):,} series of what its mapping looks for; at most {MAX_SERIES:,} are read"
        )
    page: Page = {}
    for line in lines:
        try:
            for labels, value in _samples(line):
                page.setdefault(_metric(line), []).append(Series(labels, value))
        except (ValueError, IndexError, KeyError) as error:
            remarks.note("bad line", f"{name} has a line that is no Prometheus sample: {line[:80]!r} ({error})")
    return page


def _samples(line: str) -> Iterator[tuple[dict[str, str], float]]:
    if len(line) > MAX_LINE:
        raise ValueError(f"it has {len(line):,} characters")
    for family in text_string_to_metric_families(f"{line}\n"):
        for sample in family.samples:
            yield dict(sample.labels), float(sample.value)


def _metric(line: str) -> str:
    head = line[:300].lstrip().split("{", 1)[0].split(None, 1)
    return head[0] if head else ""


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


class _Reader:
    """Makes figures of pages, and remembers what counts up."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._counters = Counters()
        self._devices = Devices(mapping)
        self._blank = _BLANKS[mapping.blanks]

    def snapshot(self, name: str, page: Page, at: float, moment: float, seconds: float) -> Snapshot:
        self._counters.page(moment)
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
        metrics = sorted({name for given in fields.values() for field in given for name in _names(field)})
        for number, device, own in self._devices.of(page, metrics):
            yield _struct({"gpu_id": number, **self._part("gpu", own, device)}, GpuFigures)

    def _part(self, part: Part, page: Page, device: Device | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, fields in self._mapping.parts.get(part, {}).items():
            figures = (self._figure(field, page, (part, name, index, device)) for index, field in enumerate(fields))
            value = next((figure for figure in figures if figure is not None), None)
            if value is not None:
                found[name] = value
        return found

    def _figure(self, field: Field, page: Page, key: tuple[object, ...]) -> float | str | None:
        if field.quantile is not None:
            return self._quantile(field, page, key)
        if field.label is not None:
            rows = [row for metric in field.metrics for row in page.get(metric, []) if _chosen(row.labels, field)]
            return " + ".join(sorted(set(texts(rows, field.label)))) or None
        values = [self._metric(field, name, page, key) for name in (field.metric, *field.plus)]
        more = [self._metric(field, name, page, key) for name in field.plus_if_there]
        if any(value is None for value in values):
            return None
        if field.bits:
            bits = int(math.fsum(value for value in values if value is not None))
            return ",".join(word for bit, word in THROTTLES.items() if bits & bit)
        value = math.fsum(value for value in (*values, *more) if value is not None) * UNITS[field.unit]
        return 1 - value if field.complement else value

    def _metric(self, field: Field, metric: str, page: Page, key: tuple[object, ...]) -> float | None:
        """One figure of all rows of a metric; None where there is none, or where a sum would lack one of its parts."""
        rows = [row for row in page.get(metric, []) if _chosen(row.labels, field)]
        values = [(row.labels, self._value(field, metric, row, key)) for row in rows]
        if field.rate:
            # A counter that is new on this page, or began again, lacks a rate for one poll; the others' sum stands.
            values = [(labels, value) for labels, value in values if value is not None]
        if field.bits:
            bits = [int(value) for _, value in values if value is not None]
            return float(functools.reduce(operator.or_, bits)) if bits else None
        mapping = self._mapping
        instances = field.instances or field.aggregate
        return Combine(field.aggregate, instances, mapping.gpu_instance, mapping.gpu_instance_size).figure(values)

    def _value(self, field: Field, metric: str, row: Series, key: tuple[object, ...]) -> float | None:
        if self._blank(row.value):
            return None
        if not field.rate:
            return row.value
        increase = self._counters.increase((*key, metric, *sorted(row.labels.items())), row.value)
        elapsed = self._counters.elapsed
        return None if increase is None or not elapsed else increase / elapsed

    def _quantile(self, field: Field, page: Page, key: tuple[object, ...]) -> float | None:
        """Linear within its bucket, as Prometheus' histogram_quantile does."""
        assert field.quantile is not None
        bounds: dict[float, float] = {}
        for labels, value in page.get(f"{field.metric}_bucket", []):
            bound = _bound(labels)
            if bound is not None and math.isfinite(value) and _chosen(labels, field):
                increase = self._counters.increase((*key, *sorted(labels.items())), value)
                bounds[bound] = bounds.get(bound, 0.0) + (math.nan if increase is None else increase)
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


def _names(field: Field) -> tuple[str, ...]:
    return field.metrics if field.quantile is None else (*field.metrics, f"{field.metric}_bucket")


def _bound(labels: dict[str, str]) -> float | None:
    try:
        return float(labels["le"])
    except (KeyError, ValueError):
        return None


def _chosen(labels: dict[str, str], field: Field) -> bool:
    return all(labels.get(name) == value for name, value in field.labels.items()) and not any(
        labels.get(name) == value for name, value in field.without.items()
    )


def _struct(values: dict[str, Any], kind: type[Any]) -> Any:  # noqa: ANN401  # the struct asked for
    whole = {field.name for field in msgspec.structs.fields(kind) if field.type in {int, int | None}}
    return kind(**{name: round(value) if name in whole else value for name, value in values.items()})
