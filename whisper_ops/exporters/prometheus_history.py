"""The past of servers as a Prometheus has it, as polls: what a recorder would have stored, had it been there."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.exporters.figure_reader import FigureReader
from whisper_ops.exporters.mapping import Mapping
from whisper_ops.exporters.prometheus_client import Prometheus, QueryWindow, TooMuchError
from whisper_ops.identity import Identity
from whisper_ops.known_software import KNOWN
from whisper_ops.snapshot import GpuFigures, Snapshot

_POINTS = 1_000
"""Moments that are read at once: of a hundred instances with histograms some hundred megabytes."""


def polls(
    prometheus: Prometheus, mappings: Sequence[Mapping], window: QueryWindow, preset: Identity
) -> Iterator[Snapshot]:
    """Polls in the order of time. What `preset` says of the servers goes before what they say.

    The first mapping is that of the servers; those of readings beside them, such as of GPUs, are put together with the
    one server on the same machine.

    Raises:
        UserError: as `Prometheus.pages`, or one moment alone is more than can be read.
    """
    servers = _Servers(mappings, preset)
    since, points = window.since, _POINTS
    while since <= window.until:
        until = min(since + (points - 1) * window.step, window.until)
        try:
            found = servers.read(prometheus, QueryWindow(since, until, window.step))
        except TooMuchError as error:
            if points == 1:
                raise UserError(f"one moment of what the mapping asks for is too much: the server {error}") from error
            points = max(1, points // 2)
            continue
        yield from found
        since = until + window.step


class _Servers:
    """What is known of each server from one window to the next."""

    def __init__(self, mappings: Sequence[Mapping], preset: Identity) -> None:
        self._mappings = mappings
        self._given = preset
        self._readers: dict[tuple[int, str], FigureReader] = {}
        self._names: set[str] = set()
        self._known: dict[str, tuple[int, Identity]] = {}
        """The newest identity by name, with the number of the mapping that it is by."""

    def read(self, prometheus: Prometheus, window: QueryWindow) -> list[Snapshot]:
        moments: dict[tuple[float, str], list[tuple[int, Snapshot]]] = {}
        for number, mapping in enumerate(self._mappings):
            pages = prometheus.pages(mapping, window)
            names = {instance: self._name(number, mapping, instance) for instance, _ in pages}
            self._names |= set(names.values())
            for (instance, at), page in pages.items():
                reader = self._readers.get((number, instance)) or FigureReader(mapping)
                self._readers[number, instance] = reader
                name = names[instance]
                moments.setdefault((at, name), []).append((number, reader.snapshot(name, page, at)))
        return [self._together(parts) for _, parts in sorted(moments.items(), key=lambda item: item[0])]

    def _name(self, number: int, mapping: Mapping, instance: str) -> str:
        """An exporter beside the one known server of its machine is that server's."""
        software = KNOWN.get(mapping.software or "")
        if number == 0 or instance in self._names or software is None or not software.figures_elsewhere:
            return instance
        there = [name for name in self._names if _host(name) == _host(instance)]
        return there[0] if len(there) == 1 else instance

    def _together(self, parts: Sequence[tuple[int, Snapshot]]) -> Snapshot:
        number, whole = parts[0]
        for _, other in parts[1:]:
            whole = _merged(whole, other)
        rank, known = self._known.get(whole.server, (number, Identity()))
        named = whole.identity or Identity()
        # While only an exporter beside it answers, a server is still what it was.
        identity = _filled(known, named) if rank < number else _filled(named, known)
        self._known[whole.server] = (min(rank, number), identity)
        simulated = identity.simulated or self._given.simulated
        identity = msgspec.structs.replace(_filled(self._given, identity), simulated=simulated)
        return msgspec.structs.replace(whole, identity=identity)


def _host(instance: str) -> str:
    return instance.rsplit(":", 1)[0]


def _merged(one: Snapshot, other: Snapshot) -> Snapshot:
    gpus = {gpu.gpu_id: gpu for gpu in one.gpus}
    for gpu in other.gpus:
        gpus[gpu.gpu_id] = _filled(gpus.get(gpu.gpu_id, GpuFigures(gpu_id=gpu.gpu_id)), gpu)
    return msgspec.structs.replace(
        one,
        identity=_filled(one.identity, other.identity),
        figures=_filled(one.figures, other.figures),
        gpus=tuple(gpu for _, gpu in sorted(gpus.items())),
        host=_filled(one.host, other.host),
    )


def _filled(one: Any, other: Any) -> Any:  # noqa: ANN401  # two structs of one type, or None
    """The first with what the other knows and it does not."""
    if one is None or other is None:
        return other if one is None else one
    unknown = (name for name in one.__struct_fields__ if getattr(one, name) is None)
    return msgspec.structs.replace(one, **{name: getattr(other, name) for name in unknown})
