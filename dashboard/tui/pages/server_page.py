"""One server: its lag and what it is made of, its GPUs, its counts, the machine under it, and its charts."""

from collections.abc import Sequence

import msgspec

from dashboard import figure_text as f
from dashboard.chart_data import Chart, ChartData
from dashboard.device_names import device, noun
from dashboard.tui.pages.chart import chart_grid, chart_height
from dashboard.tui.pages.filter_fields import memory_share
from dashboard.tui.pages.fleet_page import alert_line
from dashboard.tui.pages.fleet_rows import reasons, short_name
from dashboard.tui.pages.gauges import knee
from dashboard.tui.pages.row_keys import gpu_key
from dashboard.tui.pages.server_states import gpu_state, server_state
from dashboard.tui.pages.styled_lines import BLANK, Cell, Line, Page, TextSpan, cell, folded, line, width_of, wrapped
from dashboard.tui.pages.text_table import TextColumn, TextTable
from dashboard.tui.pages.thresholds import lag_style, memory_style, slots_style
from dashboard.tui.pages.usage_cells import usage_cells
from dashboard.world import ServerView, World
from whisper_ops.history import ChartQuery
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

_COLUMNS = (
    TextColumn(key="gpu", title="   GPU", width=9, grows=True),
    TextColumn(key="state", title="state", width=9, at=76),
    TextColumn(key="streams", title="streams", width=8, align="right"),
    TextColumn(key="fill", title="fill", width=5, align="right", at=66),
    TextColumn(key="busy", title="busy", width=5, align="right"),
    TextColumn(key="memory", title="memory", width=11, align="right"),
    TextColumn(key="lag", title="lag p95", width=8, align="right"),
    TextColumn(key="temp", title="temp", width=6, align="right"),
    TextColumn(key="power", title="power", width=9, align="right", at=98),
    TextColumn(key="clock", title="clock", width=8, align="right", at=106),
    TextColumn(key="throttle", title="throttle", width=12, at=116),
)


_WIDE, _ROOMY, _MIDDLE = 148, 100, 76
"""From these widths on all of the lag, all of the counts, and each half of the lag stand in one line."""
_HEAD_LINES = 2
"""Kept for the reason that a server is not well, so that one that comes or goes moves nothing."""


def server_page(world: World, name: str, charts: ChartData, width: int, height: int = 24) -> Page:
    """The page of the server `name` for a sheet of that size."""
    server = world.server(name)
    crumbs = ("fleet", name)
    if server is None:
        return Page(crumbs=crumbs, body=(line(TextSpan(f" no data for {name} at this moment", "dim")),))
    answer = server.answer
    head = [_state_line(world, server, width), *reasons(world, server, width)]
    if answer is None or answer.figures is None:
        return Page(crumbs=crumbs, head=tuple(head))
    if server.silent:
        head.append(line(TextSpan(f" the figures below are {f.duration(world.now - answer.at)} old", "warn")))
    head += [BLANK] * (_HEAD_LINES - len(head))
    figures = answer.figures
    table = TextTable(_columns(answer.gpus), width)
    above = [
        *_lag_lines(world, server, answer, width),
        *_connection_lines(server, figures, width),
        BLANK,
        table.header(),
        *(_gpu_row(world, server, gpu, table) for gpu in answer.gpus),
        BLANK,
        *(alert_line(alert, width) for alert in server.alerts),
        *([BLANK] if server.alerts else []),
    ]
    below = [BLANK, *_host_lines(answer.host, width)]
    shown = charts_of(world, name)
    room = height - len(head) - len(above) - len(below)
    body = [*above, *chart_grid(shown, charts, width, chart_height(len(shown), width, room)), *below]
    return Page(crumbs=crumbs, head=tuple(head), body=tuple(body))


def _columns(gpus: Sequence[GpuFigures]) -> tuple[TextColumn, ...]:
    """Those of these devices: a processor has no power or clock of its own to show."""
    if noun(gpus) == "GPU":
        return _COLUMNS
    named = msgspec.structs.replace(_COLUMNS[0], title="   CPU")
    return (named, *(column for column in _COLUMNS[1:] if column.key not in _OF_CARDS))


_OF_CARDS = {"temp", "power", "clock", "throttle"}


def charts_of(world: World, name: str) -> tuple[Chart, ...]:
    """The charts of a server's page."""
    server = world.server(name)
    objective = world.objective_for(server)
    safe = server.planned.safe if server and server.planned else None
    slots = server.answer.figures.slots if server and server.answer and server.answer.figures else None
    device_kind = noun(server.answer.gpus if server and server.answer else ())
    hottest = Chart(
        title="hottest GPU",
        query=ChartQuery(server=name, metric="temperature_celsius", kind="gpu"),
        show=f.celsius,
        top=90.0,
        limit=87.0,
    )
    processor = Chart(title="processor", query=ChartQuery(server=name, metric="cpu_ratio", kind="host"), show=f.percent)
    return (
        Chart(title="lag p95", query=ChartQuery(server=name, metric="lag_p95_seconds"), show=f.seconds, top=objective,
              limit=objective),
        Chart(title="connections", query=ChartQuery(server=name, metric="streams_active"), show=f.count,
              top=float(safe or slots or 1), limit=safe),
        Chart(title="busiest GPU" if device_kind == "GPU" else "engine busy",
              query=ChartQuery(server=name, metric="busy_ratio", kind="gpu"), show=f.percent),
        hottest if device_kind == "GPU" else processor,
    )  # fmt: skip


def _state_line(world: World, server: ServerView, width: int) -> Line:
    state = server_state(server, world)
    spans = [TextSpan(" "), *state.cell, TextSpan("  ")]
    mark = (TextSpan("  simulated", "note"),) * server.simulated
    answer = server.answer
    if answer is not None:
        identity = answer.identity
        parts = [] if identity is None else [identity.software_title, identity.model_title]
        if answer.figures is not None and answer.figures.started_at is not None:
            parts.append(f"up {f.duration(answer.at - answer.figures.started_at)}")
        if answer.host is not None:
            parts.append(f"{f.cores(answer.host.cpu_count)}, {f.size(answer.host.memory_total_bytes)}")
        spans.append(TextSpan(_parts_that_fit(parts, width - width_of(spans) - width_of(mark)), "dim"))
    return line(*spans, *mark)


def _parts_that_fit(parts: Sequence[str], width: int) -> str:
    """As many parts, from the first on, as there is room for: none is cut in its middle."""
    kept = [part for part in parts if part]
    while len(kept) > 1 and len(" · ".join(kept)) > width:
        kept.pop()
    return " · ".join(kept)


def _lag_lines(world: World, server: ServerView, answer: Snapshot, width: int) -> list[Line]:
    """The lag and what it is made of: waiting for the engine, computing, and the cadence of partials."""
    figures = answer.figures
    assert figures is not None
    objective = world.objective_for(server)
    late = max(answer.gpus, key=lambda gpu: gpu.lag_p95_seconds or 0.0, default=None)
    lag = figures.lag_p95_seconds
    spans: list[TextSpan | str] = [
        " lag p95 ",
        TextSpan(f.seconds(lag), lag_style(lag, objective) or "title"),
        TextSpan(f" of {objective:g} s", "dim"),
    ]  # fmt: skip
    queue, compute = (late.queue_wait_p95_seconds, late.compute_p95_seconds) if late is not None else (None, None)
    if lag is not None and queue is not None and compute is not None:
        rest = max(0.0, lag - queue - compute)
        spans.append(f" ≈ queue {queue:.2f} + compute {compute:.2f} + cadence {rest:.2f}")
    more: tuple[TextSpan | str, ...] = (
        " p50 ", f.seconds(figures.lag_p50_seconds), "   p99 ", f.seconds(figures.lag_p99_seconds),
        "   finals p95 ", f.seconds(figures.final_p95_seconds),
        "   partials every ", f.seconds(figures.partial_interval_seconds),
    )  # fmt: skip
    # How many lines it takes is a matter of the width alone: figures that grow by a digit move no table.
    if width >= _WIDE:
        return [line(*spans, "   ", *more)]
    halves = [part for part in (line(*spans), line(*more)) for part in folded(part, width)]
    return _padded(halves, 2 if width >= _MIDDLE else 4)


def _padded(lines: Sequence[Line], least: int) -> list[Line]:
    return [*lines, *[BLANK] * (least - len(lines))]


def _connection_lines(server: ServerView, figures: ServerFigures, width: int) -> list[Line]:
    plan, connected = server.planned, figures.streams_active
    spans: list[TextSpan | str] = [" connections "]
    if plan is None:
        spans += [TextSpan(f"{f.count(connected)} / {f.count(figures.slots)} slots", "title"),
                  TextSpan(" · no measured limit: type :sweep", "dim")]  # fmt: skip
    else:
        spans += [
            *knee(connected, plan.safe, plan.last_pass, 20, slots_style(connected, plan.safe)),
            TextSpan(f" {f.count(connected)} of {'~' * plan.provisional}{f.count(plan.safe)} safe", "title"),
            TextSpan(f", {f.count(plan.last_pass)} seen to pass, {f.count(figures.slots)} slots", "dim"),
        ]  # fmt: skip
    speaking = f"speaking {f.count(figures.streams_speaking)}"
    there = (f"   {speaking}", "") if width >= _ROOMY else ("", f"{speaking} · ")
    counts = (
        f"done {f.count(figures.completed_total)} · failed {f.count(figures.failed_total)} · refused "
        f"{f.count(figures.rejected_total)} ({f.count(server.rejects_per_minute)}/min) · set-up mean "
        f"{f.milliseconds(figures.setup_mean_seconds)}, "
        f"{f.milliseconds(figures.setup_min_seconds)} to {f.milliseconds(figures.setup_max_seconds)}"
    )
    lines = [*folded(line(*spans, there[0]), width), *wrapped(there[1] + counts, width, " ")]
    return _padded(lines, 2 if width >= _ROOMY else 3 if width >= _MIDDLE else 5)


def _gpu_row(world: World, server: ServerView, gpu: GpuFigures, table: TextTable) -> Line:
    safe = server.planned.per_gpu if server.planned else gpu.slots
    state, memory = gpu_state(gpu, server, world), memory_share(gpu)
    throttled = gpu.throttle_reasons or None
    usage = usage_cells(
        lag=gpu.lag_p95_seconds,
        objective=world.objective_for(server),
        busy=gpu.busy_ratio,
        memory=memory,
        temperature=gpu.temperature_celsius,
    )
    cells: dict[str, Cell] = usage | {
        "gpu": (TextSpan(f" {state.glyph} ", state.style), *_gpu_name(gpu)),
        "state": cell(state.word, state.style),
        "streams": cell(f"{f.count(gpu.streams_active)}/{f.count(safe)}",
                        slots_style(gpu.streams_active, safe, "") if safe is not None else ""),
        "fill": cell(f.number(gpu.batch_fill_mean)),
        "memory": cell(f.size_of(gpu.memory_used_bytes, gpu.memory_total_bytes), memory_style(memory)),
        "power": cell(f.watts_of(gpu.power_watts, gpu.power_limit_watts)),
        "clock": cell(f.hertz(gpu.sm_clock_hertz)),
        "throttle": cell(f.UNKNOWN if throttled is None else throttled, "warn" if throttled else "dim"),
    }  # fmt: skip
    return table.row(cells, key=gpu_key(server.name, gpu.gpu_id))


def _gpu_name(gpu: GpuFigures) -> Cell:
    if gpu.is_cpu:
        return (TextSpan(device(gpu)),)
    return (TextSpan(f"{gpu.gpu_id}"), TextSpan(f"  {short_name(gpu.name)}", "dim"))


def _host_lines(host: HostFigures | None, width: int) -> list[Line]:
    if host is None:
        return [line(TextSpan(" no figures of the host", "dim"))]
    free = f.share(host.memory_available_bytes, host.memory_total_bytes)
    text = (
        f"host {host.hostname or f.UNKNOWN}: cpu {f.percent(host.cpu_ratio)} of {f.cores(host.cpu_count)}, "
        f"front {f.percent(host.front_cpu_ratio)} of its core, memory {f.size(host.memory_available_bytes)} free "
        f"({f.percent(free)}), server {f.size(host.process_rss_bytes)} in {f.number(host.process_cpu_ratio)} cores, "
        f"descriptors {f.count(host.open_descriptors)} of {f.count(host.descriptors_soft_limit)}, "
        f"sockets {f.count(host.sockets)}, threads {f.count(host.threads)}"
    )
    return wrapped(text, width, " ", "dim")
