"""Any Prometheus text endpoint, read through a mapping."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from dashboard.mapping import UNITS, Field, Mapping, Part
from dashboard.source import Remarks, SourceError
from dashboard.sources.web import Web
from dashboard.sources.whisper_ops import address
from whisper_ops.snapshot import GpuFigures, HostFigures, Identity, ServerFigures, Snapshot
from whisper_ops.telemetry.nvml import THROTTLES

Labels = dict[str, str]
Series = tuple[Labels, float]
Page = dict[str, list[Series]]

_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "mean": lambda values: math.fsum(values) / len(values),
    "count": lambda values: float(len(values)),
}


class PrometheusSource:
    """Polls the mapping's path at `url`, or `url` itself when it has a path."""

    def __init__(
        self, url: str, mapping: Mapping, *, name: str | None = None, token: str | None = None, at: str | None = None
    ) -> None:
        self.name = name or address(url)
        self.remarks = Remarks()
        parts = urlsplit(url)
        # An address with a path of its own, as http://host:9100/metrics, says where the page is.
        self._path = parts.path if parts.path not in {"", "/"} else mapping.path
        self._web = Web(f"{parts.scheme}://{parts.netloc}", token, at)
        self._mapping = mapping
        self._reader = _Reader(mapping)

    async def read(self) -> Snapshot:
        """One poll. Rates and quantiles are known from the second one on."""
        began = time.perf_counter()
        answer = await self._web.get(self._path)
        text = answer.body.decode("utf-8", "replace")
        if "html" in answer.content_type or text.lstrip()[:1] == "<":
            raise SourceError(f"{self.name} answered HTML, not a Prometheus page; is another program listening there?")
        page = parse(text, self._mapping.metrics(), self.remarks, self.name)
        if not page:
            raise SourceError(f"{self.name} ({self._path}) has none of the metrics that its mapping looks for")
        at, seconds = time.time(), time.perf_counter() - began
        return self._reader.snapshot(self.name, page, at, seconds)

    async def close(self) -> None:
        """Close its connection."""
        await self._web.close()


def parse(text: str, wanted: set[str], remarks: Remarks, name: str) -> Page:
    """The wanted series of a page. A line that is none is said once and counted; the others are read."""
    # A page has thousands of lines, a mapping some ten metrics: only their lines go through the full parser.
    lines = [line for line in text.splitlines() if line[:1] not in {"", "#"} and _metric(line) in wanted]
    page: Page = {}
    for line in lines:
        try:
            for family in text_string_to_metric_families(f"{line}\n"):
                for sample in family.samples:
                    page.setdefault(_metric(line), []).append((dict(sample.labels), float(sample.value)))
        except (ValueError, IndexError, KeyError) as error:
            remarks.note("bad line", f"{name} has a line that is no Prometheus sample: {line[:80]!r} ({error})")
    return page


def _metric(line: str) -> str:
    return line.split("{", 1)[0].split(" ", 1)[0].strip()


class _Reader:
    """Makes figures of pages, and remembers what counts up."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._before: dict[tuple[object, ...], float] = {}
        self._now: dict[tuple[object, ...], float] = {}
        self._before_at: float | None = None
        self._elapsed: float | None = None

    def snapshot(self, name: str, page: Page, at: float, seconds: float) -> Snapshot:
        self._now = {}
        self._elapsed = None if self._before_at is None else at - self._before_at
        identity = {"software": self._mapping.software, **self._part("identity", page)}
        host = self._part("host", page)
        snapshot = Snapshot(
            server=name,
            at=at,
            poll_seconds=seconds,
            identity=_struct(identity, Identity),
            figures=_struct(self._part("server", page), ServerFigures),
            gpus=tuple(self._gpus(page)),
            host=_struct(host, HostFigures) if host else None,
        )
        self._before, self._before_at = self._now, at
        return snapshot

    def _gpus(self, page: Page) -> Iterator[GpuFigures]:
        label, fields = self._mapping.gpu_label, self._mapping.parts.get("gpu", {})
        if label is None or not fields:
            return
        metrics = {metric for field in fields.values() for metric in (field.metric, *field.plus)}
        ids = sorted(
            {labels[label] for metric in metrics for labels, _ in page.get(metric, []) if label in labels}, key=_order
        )
        for number, one in enumerate(ids):
            own = {metric: [s for s in page.get(metric, []) if s[0].get(label) == one] for metric in metrics}
            gpu_id = int(one) if one.isdecimal() else number
            yield _struct({"gpu_id": gpu_id, **self._part("gpu", own, one)}, GpuFigures)

    def _part(self, part: Part, page: Page, gpu: str = "") -> dict[str, Any]:
        fields = self._mapping.parts.get(part, {})
        found = {name: self._figure(field, page, (part, name, gpu)) for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _figure(self, field: Field, page: Page, key: tuple[object, ...]) -> float | str | None:
        if field.quantile is not None:
            return self._quantile(field, page, key)
        series = [
            one for metric in (field.metric, *field.plus) for one in page.get(metric, []) if _chosen(one[0], field)
        ]
        if field.label is not None:
            texts = {labels[field.label] for labels, _ in series if field.label in labels}
            return " + ".join(sorted(texts)) or None
        values = [value for value in (self._value(field, one, key) for one in series) if value is not None]
        if not values:
            return None
        if field.bits:
            bits = int(values[0])
            return ",".join(word for bit, word in THROTTLES.items() if bits & bit)
        value = _AGGREGATES[field.aggregate](values) * UNITS[field.unit]
        return 1 - value if field.complement else value

    def _value(self, field: Field, series: Series, key: tuple[object, ...]) -> float | None:
        labels, value = series
        if not math.isfinite(value):
            return None
        if not field.rate:
            return value
        increase = self._increase((*key, *sorted(labels.items())), value)
        return None if increase is None or not self._elapsed else increase / self._elapsed

    def _increase(self, key: tuple[object, ...], value: float) -> float | None:
        self._now[key] = value
        before = self._before.get(key)
        if before is None:
            return None
        # A counter that fell was restarted in between: what it holds now is what was counted since.
        return value - before if value >= before else value

    def _quantile(self, field: Field, page: Page, key: tuple[object, ...]) -> float | None:
        """Linear within its bucket, as Prometheus' histogram_quantile does."""
        assert field.quantile is not None
        bounds: dict[float, float] = {}
        for labels, value in page.get(f"{field.metric}_bucket", []):
            if "le" in labels and _chosen(labels, field):
                increase = self._increase((*key, *sorted(labels.items())), value)
                if increase is not None:
                    bounds[float(labels["le"])] = bounds.get(float(labels["le"]), 0.0) + increase
        cumulated = sorted(bounds.items())
        if not cumulated or not cumulated[-1][1]:
            return None
        rank, below, low = field.quantile * cumulated[-1][1], 0.0, 0.0
        for bound, count in cumulated:
            if count >= rank:
                # In the last bucket its lower bound is all that is known: "at least this".
                share = (rank - below) / (count - below) if count > below else 1.0
                return (low if math.isinf(bound) else low + (bound - low) * share) * UNITS[field.unit]
            below, low = count, bound
        return None


def _chosen(labels: Labels, field: Field) -> bool:
    return all(labels.get(name) == value for name, value in field.labels.items()) and not any(
        labels.get(name) == value for name, value in field.without.items()
    )


def _order(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (10**9, label)


def _struct(values: dict[str, Any], kind: type[Any]) -> Any:  # noqa: ANN401  # the struct asked for
    whole = {field.name for field in msgspec.structs.fields(kind) if field.type in {int, int | None}}
    return kind(**{name: round(value) if name in whole else value for name, value in values.items()})
