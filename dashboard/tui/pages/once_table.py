"""`dash --once`: the fleet as a table, without the full screen. Imports no textual."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dashboard import figure_text as f
from dashboard.device_names import device
from dashboard.tui.pages.broker_members import brokers, lag_of, members_of_all
from dashboard.tui.pages.filter_fields import facts, ordered
from dashboard.tui.pages.fleet_rows import short_name
from dashboard.tui.pages.server_states import gpu_state, server_state
from dashboard.world import ServerView, World
from whisper_ops.formatting import counted
from whisper_ops.snapshot import Snapshot

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red", "note": "cyan", "dim": "dim"}
_FIGURES = ("slots", "lag p95", "rej/min", "busy", "memory", "temp")


def table(world: World) -> Table:
    """A row a server and, under it, a row a GPU."""
    built = Table(box=None, pad_edge=False, header_style="bold")
    built.add_column("server", overflow="fold")
    built.add_column("state")
    for title in _FIGURES:
        built.add_column(title, justify="right", no_wrap=True)
    for server in ordered(world, "server"):
        _add_server(built, world, server)
    return built


def members_table(world: World) -> Table | None:
    """A row a server behind brokers, the worst first; None where there is no broker."""
    if not brokers(world):
        return None
    built = Table(box=None, pad_edge=False, header_style="bold")
    built.add_column("behind the broker", overflow="fold")
    built.add_column("state")
    for title in ("slots", "free", "lag p95", "GPUs", "age"):
        built.add_column(title, justify="right", no_wrap=True)
    for member in members_of_all(world):
        answer, state = member.answer, member.state
        reached = answer.state != "silent"
        built.add_row(
            answer.name,
            Text(f"{state.glyph} {state.word}", _COLOURS.get(state.style, "")),
            f"{f.count(answer.slots_used)}/{f.count(answer.slots)}" if reached else f.UNKNOWN,
            f.count(answer.slots_free) if reached else f.UNKNOWN,
            f.seconds(lag_of(answer)) if reached else f.UNKNOWN,
            f.count(answer.gpus),
            f.duration(member.age),
        )
    return built


def _add_server(built: Table, world: World, server: ServerView) -> None:
    state = server_state(server, world)
    known = facts(server, world)
    figures = server.answer.figures if server.answer and not server.silent else None
    label = f"{server.name} (simulated)" if server.simulated else server.name
    built.add_row(
        label,
        Text(f"{state.glyph} {state.word}", _COLOURS.get(state.style, "")),
        f"{f.count(figures.streams_active)}/{f.count(figures.slots)}" if figures else f.UNKNOWN,
        f.seconds(_figure(known["lag"])),
        f.count(_figure(known["rejects"])),
        f.percent(_ratio(known["busy"])),
        f.percent(_ratio(known["memory"])),
        f.celsius(_figure(known["temp"])),
    )
    for gpu in server.answer.gpus if figures and server.answer else ():
        gpu_status = gpu_state(gpu, server, world)
        built.add_row(
            f"  {device(gpu)}  {'' if gpu.is_cpu else short_name(gpu.name)}".rstrip(),
            Text(f"{gpu_status.glyph} {gpu_status.word}", _COLOURS.get(gpu_status.style, "")),
            f"{f.count(gpu.streams_active)}/{f.count(gpu.slots)}",
            f.seconds(gpu.lag_p95_seconds),
            "",
            f.percent(gpu.busy_ratio),
            f.percent(f.share(gpu.memory_used_bytes, gpu.memory_total_bytes)),
            f.celsius(gpu.temperature_celsius),
        )


def failures(snapshots: Sequence[Snapshot]) -> str | None:
    """What kept servers silent, in one sentence; None when all answered."""
    silent = [snapshot for snapshot in snapshots if snapshot.state == "silent"]
    if not silent:
        return None
    reasons = "; ".join(f"{snapshot.server}: {snapshot.error}" for snapshot in silent)
    return f"{len(silent)} of {counted(len(snapshots), 'server')} could not be reached: {reasons}"


def _figure(fact: float | str | None) -> float | None:
    return fact if isinstance(fact, float | int) else None


def _ratio(fact: float | str | None) -> float | None:
    figure = _figure(fact)
    return None if figure is None else figure / 100
