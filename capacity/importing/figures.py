"""Naming a figure of the history from outside: `gpu.memory_used_bytes=fb_used:mib`, its column and its unit."""

from collections.abc import Mapping
from typing import Any

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.snapshot import GpuFigures, HostFigures, Identity, ServerFigures, Snapshot

UNITS = {
    "": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "%": 1e-2, "percent": 1e-2, "ratio": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6,
    "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "w": 1.0, "mw": 1e-3, "c": 1.0, "mhz": 1e6, "hz": 1.0,
}  # fmt: skip
KINDS: dict[str, type[msgspec.Struct]] = {"server": ServerFigures, "gpu": GpuFigures, "host": HostFigures}


class Source(msgspec.Struct, frozen=True):
    """Where a figure comes from, and the factor that brings it to base units."""

    column: str
    factor: float = 1.0


def known_figures() -> list[str]:
    """Every name that can be mapped, but `at`."""
    return [f"{kind}.{name}" for kind, struct in KINDS.items() for name in struct.__struct_fields__]


def parse_map(entries: tuple[str, ...]) -> dict[str, Source]:
    """Read `FIGURE=COLUMN[:UNIT]` entries.

    Raises:
        UserError: an entry is not of that form, or names a figure or a unit that does not exist.
    """
    known = {"at", *known_figures()}
    found: dict[str, Source] = {}
    for entry in entries:
        figure, equals, rest = entry.partition("=")
        column, _, unit = rest.rpartition(":") if rest.rpartition(":")[2].lower() in UNITS else (rest, "", "")
        if not equals or not column:
            raise UserError(f"--map takes FIGURE=COLUMN or FIGURE=COLUMN:UNIT, not {entry!r}")
        if figure not in known:
            close = ", ".join(sorted(name for name in known if figure.split(".")[-1][:6] in name)[:5])
            raise UserError(
                f"--map names {figure!r}, which is no figure of the history{f'; near: {close}' if close else ''}"
            )
        found[figure] = Source(column, UNITS[unit.lower()])
    return found


class Moment(msgspec.Struct):
    """Figures of one server at one moment, while they are put together."""

    server: dict[str, float]
    host: dict[str, float]
    gpus: dict[int, dict[str, float]]

    @classmethod
    def empty(cls) -> "Moment":
        """Nothing known yet."""
        return cls({}, {}, {})

    def put(self, figure: str, value: float, gpu: int = 0) -> None:
        """Add one figure by its mapped name, in base units."""
        kind, _, name = figure.partition(".")
        place = self.gpus.setdefault(gpu, {}) if kind == "gpu" else self.server if kind == "server" else self.host
        place[name] = value

    def snapshot(self, name: str, at: float, identity: Identity) -> Snapshot:
        """A poll as a recorder would have made it. Streams known only by GPU are summed up, and the other way round."""
        gpus = {gpu_id: dict(figures) for gpu_id, figures in self.gpus.items()}
        server = dict(self.server)
        on_gpus = [figures["streams_active"] for figures in gpus.values() if "streams_active" in figures]
        if "streams_active" not in server and on_gpus:
            server["streams_active"] = sum(on_gpus)
        if len(gpus) <= 1 and "streams_active" in server:
            only = gpus.setdefault(next(iter(gpus), 0), {})
            only.setdefault("streams_active", server["streams_active"])
            if "lag_p95_seconds" in server:
                only.setdefault("lag_p95_seconds", server["lag_p95_seconds"])
        server.setdefault("gpus", max(len(gpus), 1))
        return Snapshot(
            server=name,
            at=at,
            identity=identity,
            figures=_made(ServerFigures, server),
            gpus=tuple(_made(GpuFigures, {**figures, "gpu_id": gpu_id}) for gpu_id, figures in sorted(gpus.items())),
            host=_made(HostFigures, self.host) if self.host else None,
        )


def _made(kind: Any, figures: Mapping[str, float]) -> Any:  # noqa: ANN401  # one of the three figure types
    """A struct of figures; counts are whole numbers there."""
    whole = {
        field.name
        for field in msgspec.structs.fields(kind)
        if "int" in str(field.type) and "float" not in str(field.type)
    }
    return kind(**{name: round(value) if name in whole else value for name, value in figures.items()})
