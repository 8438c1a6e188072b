"""Which rows of an exporter's page are of one device: its own, those of its instances, those of the pods on it.

The DCGM exporter repeats a device's figures for every pod that shares it (time slicing) and, with MIG, for every
instance; some figures are then an instance's own. So rows are first put together by device and instance, where they say
the same thing, and then instances by what the mapping says: memory adds up, a temperature does not.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from whisper_ops.exporters.mapping import Aggregate, Mapping
from whisper_ops.exporters.text_format import Labels, MetricSeries, Page


class DeviceLabels(NamedTuple):
    """What tells one device from all others."""

    host: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


class DeviceRows:
    """The devices of one exporter, each with a number that it keeps for as long as this watches."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._numbers: dict[DeviceLabels, int] = {}

    def of(self, page: Page, metrics: Iterable[str]) -> list[tuple[int, DeviceLabels, Page]]:
        """Number, identity and own rows of each device, by number."""
        hosts: dict[str, set[str]] = {}
        rows = [(metric, series) for metric in metrics for series in page.get(metric, [])]
        for _, series in rows:
            hosts.setdefault(self._name(series.labels), set()).add(self._host(series.labels))
        pages: dict[DeviceLabels, Page] = {}
        numbers: dict[DeviceLabels, str] = {}
        for metric, series in rows:
            device = self._device(series.labels, hosts)
            if device is not None:
                pages.setdefault(device, {}).setdefault(metric, []).append(series)
                numbers.setdefault(device, self._number(series.labels))
        for device in sorted(pages, key=lambda device: (device.host, _order(numbers[device]), device.name)):
            self._give_number(device, numbers[device])
        return sorted(((self._numbers[device], device, own) for device, own in pages.items()), key=lambda row: row[0])

    def _name(self, labels: Labels) -> str:
        return labels.get(self._mapping.gpu_label or "") or self._number(labels)

    def _number(self, labels: Labels) -> str:
        return labels.get(self._mapping.gpu_number or self._mapping.gpu_label or "", "")

    def _host(self, labels: Labels) -> str:
        return labels.get(self._mapping.gpu_host or "", "")

    def _device(self, labels: Labels, hosts: dict[str, set[str]]) -> DeviceLabels | None:
        name = self._name(labels)
        if not name:
            return None
        named = hosts[name] - {""}
        # A row that names no host is of the only one that has such a device.
        host = self._host(labels) or (next(iter(named)) if len(named) == 1 else "")
        return DeviceLabels(host, name)

    def _give_number(self, device: DeviceLabels, label: str) -> None:
        if device in self._numbers:
            return
        taken = set(self._numbers.values())
        number = int(label) if label.isascii() and label.isdecimal() and len(label) < 6 else len(taken)
        # Two machines both begin at 0: the later one gets the next free number.
        while number in taken:
            number += 1
        self._numbers[device] = number


class Combine(NamedTuple):
    """How the rows of one device become one figure."""

    rows: Aggregate
    """Of one device or one instance."""
    instances: Aggregate
    """Of a device that has no row of its own."""
    label: str | None = None
    """The label that names the instance."""
    size: str | None = None
    """The label whose number says how much of the device an instance has, as in `1g.5gb`."""

    def figure(self, rows: Sequence[tuple[Labels, float | None]]) -> float | None:
        """One figure of rows whose value is None where it is not known; a sum that lacks a part is not known either."""
        parts: dict[str, list[float | None]] = {}
        sizes: dict[str, float] = {}
        for labels, value in rows:
            part = labels.get(self.label or "", "")
            parts.setdefault(part, []).append(value)
            sizes[part] = _size(labels.get(self.size or "", ""))
        whole = _combined(parts.pop("", []), self.rows)
        if whole is not None or not parts:
            return whole
        figures = {part: _combined(values, self.rows) for part, values in parts.items()}
        if self.instances != "mean":
            return _combined(list(figures.values()), self.instances)
        known = [(sizes[part], value) for part, value in figures.items() if value is not None]
        return (
            math.fsum(size * value for size, value in known) / math.fsum(size for size, _ in known) if known else None
        )


def _combined(values: Sequence[float | None], how: Aggregate) -> float | None:
    known = [value for value in values if value is not None]
    if not known or (how == "sum" and len(known) < len(values)):
        return None
    return AGGREGATES[how](known)


AGGREGATES: dict[Aggregate, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "mean": lambda values: math.fsum(values) / len(values),
    "count": lambda values: float(len(values)),
}


def texts(rows: Iterable[MetricSeries], label: str) -> Iterator[str]:
    """The texts that a label has, without empty ones."""
    return (series.labels[label] for series in rows if series.labels.get(label))


def _size(profile: str) -> float:
    number = profile.partition("g")[0]
    return float(number) if number.isascii() and number.isdecimal() and 0 < len(number) < 4 and int(number) else 1.0


def _order(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isascii() and label.isdecimal() and len(label) < 10 else (10**9, label)
