"""The plan: the limit, why it is that, what the law expected beside what is seen now, and what if a server is lost."""

from collections.abc import Sequence

from dashboard import figure_text as f
from dashboard.tui.pages.filter_fields import largest, ordered
from dashboard.tui.pages.fleet_rows import GAUGE_CELLS, name_cells
from dashboard.tui.pages.gauges import knee
from dashboard.tui.pages.row_keys import server_key
from dashboard.tui.pages.styled_lines import BLANK, Cell, Line, Page, TextSpan, cell, line, wrapped
from dashboard.tui.pages.text_table import TextColumn, TextTable
from dashboard.tui.pages.thresholds import slots_style
from dashboard.world import ServerView, World
from whisper_ops.plan.plan_answer import five_lines
from whisper_ops.plan.plan_document import Plan, Resource
from whisper_ops.plan.plan_sentences import limit_text, open_ended, result
from whisper_ops.plan.resource_kinds import (
    DESCRIPTORS,
    GPU_BUSY,
    GPU_MEMORY,
    HOST_CPU,
    HOST_MEMORY,
    LATENCY,
    POLLED_LAG,
    SERVER_CORE,
)
from whisper_ops.server_names import canonical_name
from whisper_ops.snapshot import GpuFigures, HostFigures

_SERVERS = (
    TextColumn(key="server", title="   server", width=14, grows=True),
    TextColumn(key="gauge", title="now │safe│ seen", width=GAUGE_CELLS, at=66),
    TextColumn(key="now", title="now", width=6, align="right"),
    TextColumn(key="safe", title="safe", width=7, align="right"),
    TextColumn(key="room", title="room", width=6, align="right"),
    TextColumn(key="lost", title="if it is lost", width=22, at=90),
)
_RESOURCES = (
    TextColumn(key="name", title=" what can run out", width=20),
    TextColumn(key="limit", title="limit", width=11, align="right"),
    TextColumn(key="now", title="now", width=10, align="right", at=72),
    TextColumn(key="expected", title="expected", width=10, align="right", at=86),
    TextColumn(key="cap", title="cap", width=12, align="right", at=100),
    TextColumn(key="law", title="law", width=14, grows=True),
)


def plan_page(world: World, name: str | None, width: int) -> Page:
    """The plan of the server `name`, or of the one nearest to its limit; and all servers' room."""
    planned = [server for server in world.servers if server.planned is not None]
    crumbs = ("fleet", "plan") if name is None else ("fleet", name, "plan")
    if not planned:
        return Page(crumbs=crumbs, body=tuple(_no_plan(width)))
    about = next((server for server in planned if server.name == name), None) or max(planned, key=_fullness)
    table = TextTable(_SERVERS, width, name_cells(world))
    body = [
        *_other_plan_note(world, name, about, width),
        *_answer(world, about, width),
        BLANK,
        *_resources(about, width),
        BLANK,
        table.header(),
        *(_server_row(world, server, table) for server in ordered(world, "state")),
        *_fleet_lines(planned, width),
    ]
    return Page(crumbs=crumbs, body=tuple(body))


def _other_plan_note(world: World, asked: str | None, about: ServerView, width: int) -> list[Line]:
    """That the server that was asked about has no plan, before the figures of another one."""
    if asked is None or asked == about.name:
        return []
    server = world.server(asked)
    kind = ": none was made for what it runs" if server is not None and server.answer is not None else ""
    text = f"{asked} has no plan{kind}. This is the plan of {about.name}:"
    return [*wrapped(text, width, " ", "warn"), BLANK]


def _no_plan(width: int) -> list[Line]:
    return [
        line(TextSpan(" no measured limit", "title"), TextSpan(" for any server here", "dim")),
        BLANK,
        *wrapped(
            ":sweep   here measures the server under the cursor with speaking clients, level by level, plans from "
            "that, and offers to set the limit",
            width,
            "   ",
        ),
        BLANK,
        *wrapped(
            "In a shell the same are `whisper-ops sweep URL` and `whisper-ops plan`. Plans are read from the history; "
            "they show here within half a minute.",
            width,
            " ",
            "dim",
        ),
    ]


def _answer(world: World, server: ServerView, width: int) -> list[Line]:
    assert server.planned is not None
    plan = server.planned.plan
    answer, why, *after = five_lines(plan, world.now)
    lines = [
        *wrapped(answer, width, " ", "warn" if plan.provisional else "title"),
        *wrapped(f"for {server.name}, measured on {_measured_on(server, plan)} "
                 f"{f.duration(world.now - plan.created_at)} ago", width, " ", "dim"),
        *wrapped(why, width, " "),
    ]  # fmt: skip
    for text in after:
        lines += wrapped(text, width, " ", "dim")
    if plan.levels:
        lines += wrapped(
            "Levels: " + " · ".join(f"{level.streams} {result(level)}" for level in plan.levels), width, " "
        )
    if plan.tiers:
        lines += wrapped(" · ".join(f"{tier.name} {tier.connections}" for tier in plan.tiers), width, " ", "note")
    return lines


def _measured_on(server: ServerView, plan: Plan) -> str:
    """Where a plan was measured; of the server itself not by another of its names."""
    own_names = {canonical_name(name) for name in (server.name, server.address) if name is not None}
    return "it" if canonical_name(plan.server) in own_names else plan.server


def _resources(server: ServerView, width: int) -> list[Line]:
    assert server.planned is not None
    plan = server.planned.plan
    if not plan.resources:
        return []
    table = TextTable(_RESOURCES, width)
    return [table.header(), *(_resource_row(resource, server, plan, table) for resource in plan.resources)]


def _resource_row(resource: Resource, server: ServerView, plan: Plan, table: TextTable) -> Line:
    binds = resource is plan.binds and not open_ended(plan)
    load = largest(float(gpu.streams_active) for gpu in _gpus(server) if gpu.streams_active is not None)
    expected = None if load is None else resource.expected(load)
    cells: dict[str, Cell] = {
        "name": (TextSpan(" ◀ " if binds else "   ", "warn"), TextSpan(resource.name, "title" if binds else "")),
        "limit": cell(limit_text(resource), "title" if binds else ""),
        "now": cell(_lag_prefix(resource) + _figure_text(resource, _current_figure(resource, server))),
        "expected": cell(_figure_text(resource, expected), "dim"),
        "cap": cell(resource.cap_text, "dim"),
        "law": cell(resource.fix or resource.law, "note" if resource.fix else "dim"),
    }
    return table.row(cells)


def _lag_prefix(resource: Resource) -> str:
    """That a figure is the server's lag, where the law is of the latency of words, which only a load test measures."""
    return "lag " if resource.kind == LATENCY else ""


def _current_figure(resource: Resource, server: ServerView) -> float | None:
    """What is seen now of a resource, in its unit: the figure that its law is of, where the dashboard reads it."""
    if server.answer is None or server.answer.figures is None or server.silent:
        return None
    gpus, host, figures = server.answer.gpus, server.answer.host or HostFigures(), server.answer.figures
    current: dict[str, float | None] = {
        LATENCY: figures.lag_p95_seconds,
        POLLED_LAG: figures.lag_p95_seconds,
        GPU_BUSY: _times(largest(gpu.busy_ratio for gpu in gpus), 100),
        GPU_MEMORY: _times(largest(gpu.memory_used_bytes for gpu in gpus), 1e-9),
        SERVER_CORE: _times(host.front_cpu_ratio, 100),
        HOST_CPU: _times(host.cpu_ratio, 100),
        HOST_MEMORY: _times(host.process_rss_bytes, 1e-9),
        DESCRIPTORS: host.open_descriptors,
    }
    return current.get(resource.kind)


def _figure_text(resource: Resource, figure: float | None) -> str:
    """A figure of a resource in its unit."""
    if figure is None:
        return f.UNKNOWN
    if resource.unit == "s":
        return f.seconds(figure)
    return f"{f.number(figure)} {resource.unit}" if resource.unit in {"%", "GB"} else f.count(figure)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _gpus(server: ServerView) -> tuple[GpuFigures, ...]:
    return server.answer.gpus if server.answer and not server.silent else ()


def _server_row(world: World, server: ServerView, table: TextTable) -> Line:
    plan, now = server.planned, _connected(server)
    cells: dict[str, Cell] = {"server": (TextSpan("   "), TextSpan(server.name, "title")), "now": cell(f.count(now))}
    if plan is None:
        cells["gauge"] = cell("no limit yet", "dim")
        return table.row(cells, key=server_key(server.name))
    room = None if now is None else plan.safe - now
    cells |= {
        "gauge": knee(now, plan.safe, plan.last_pass, GAUGE_CELLS, slots_style(now, plan.safe)),
        "safe": cell(f"{'~' * plan.provisional}{f.count(plan.safe)}"),
        "room": cell(f.count(room), "bad" if room is not None and room < 0 else ""),
        "lost": _if_lost(world, server),
    }
    return table.row(cells, key=server_key(server.name))


def _if_lost(world: World, lost: ServerView) -> Cell:
    """What happens when this server goes: its connections must find room on the others within their safe limits."""
    now = _connected(lost)
    if now is None:
        return cell("it is lost already", "dim")
    others = [other for other in world.servers if other.name != lost.name and _connected(other) is not None]
    if not others:
        return cell("no other server", "bad" if now else "dim")
    room = [max(0, other.planned.safe - (_connected(other) or 0)) for other in others if other.planned is not None]
    if not room:
        return cell(f"{f.UNKNOWN} others have no limit", "dim")
    if sum(room) >= now:
        return cell(f"● fits, {sum(room) - now} to spare", "ok")
    return cell(f"▲ {now - sum(room)} find no room", "bad")


def _fleet_lines(planned: Sequence[ServerView], width: int) -> list[Line]:
    answering = [server for server in planned if _connected(server) is not None]
    safe = [server.planned.safe for server in answering if server.planned]
    if not safe:
        return [BLANK, *wrapped("fleet: no server with a plan answers", width, " ")]
    now = sum(_connected(server) or 0 for server in answering)
    servers = f.counted(len(safe), "answering server")
    lost = f"; with the largest of them lost it carries {sum(safe) - max(safe)}" if len(safe) > 1 else ""
    return [BLANK, *wrapped(f"fleet: {now} of {sum(safe)} safe on {servers} with a plan{lost}", width, " ")]


def _connected(server: ServerView) -> int | None:
    if server.silent or server.answer is None or server.answer.figures is None:
        return None
    return server.answer.figures.streams_active


def _fullness(server: ServerView) -> float:
    return (_connected(server) or 0) / max(1, server.planned.safe if server.planned else 1)
