"""One GPU: every reading beside the figure from which it matters, what runs on it, and its charts."""

from typing import NamedTuple

from dashboard import figure_text as f
from dashboard.chart_data import Chart, ChartData
from dashboard.device_names import device
from dashboard.tui.pages.chart import chart_grid, chart_height, side_by_side
from dashboard.tui.pages.filter_fields import memory_share
from dashboard.tui.pages.gauges import bar
from dashboard.tui.pages.server_states import gpu_state
from dashboard.tui.pages.styled_lines import BLANK, Line, Page, Style, TextSpan, line, wrapped
from dashboard.tui.pages.thresholds import busy_style, lag_style, memory_style, slots_style, temperature_style
from dashboard.world import ServerView, World
from whisper_ops.history import ChartQuery
from whisper_ops.snapshot import GpuFigures

_BAR = 10


class GpuPageRow(NamedTuple):
    """A line of the page: a name, a figure, how full that is, and from where on it matters."""

    name: str
    text: str
    share: float | None = None
    style: Style = ""
    remark: str = ""


def gpu_page(world: World, name: str, gpu_id: int, charts: ChartData, width: int, height: int = 24) -> Page:
    """The page of one GPU of the server `name` for a sheet of that size."""
    server = world.server(name)
    gpu = gpu_of(server, gpu_id)
    crumbs = ("fleet", name, f"gpu {gpu_id}" if gpu is None else device(gpu))
    if server is None or server.answer is None or gpu is None:
        return Page(crumbs=crumbs, body=(line(TextSpan(" no data for this GPU at this moment", "dim")),))
    state = gpu_state(gpu, server, world)
    age = world.now - server.answer.at + (gpu.reading_age_seconds or 0.0)
    head = line(
        TextSpan(" "),
        *state.cell,
        TextSpan(f"  {gpu.name or 'unnamed'}", "title"),
        TextSpan(f"  {gpu.uuid or ''}   readings {f.duration(age)} old", "warn" if age > 10 else "dim"),
    )
    unread = () if gpu.reading_error is None else wrapped(f"it cannot be read: {gpu.reading_error}", width, " ", "warn")
    left = [_line(reading) for reading in _load(world, server, gpu)]
    right = [_line(reading) for reading in _device(gpu)]
    both = side_by_side(left, right, width // 2 - 1) if width >= 100 else [*left, BLANK, *right]
    shown = charts_of(world, name, gpu_id)
    room = height - len(both) - len(unread) - 2
    body = (*both, BLANK, *chart_grid(shown, charts, width, chart_height(len(shown), width, room)))
    return Page(crumbs=crumbs, head=(head, *unread), body=body)


def gpu_of(server: ServerView | None, gpu_id: int) -> GpuFigures | None:
    """The GPU of that number in the last answer of a server."""
    gpus = server.answer.gpus if server is not None and server.answer is not None else ()
    return next((gpu for gpu in gpus if gpu.gpu_id == gpu_id), None)


def charts_of(world: World, name: str, gpu_id: int) -> tuple[Chart, ...]:
    """The charts of a GPU's page."""
    server = world.server(name)
    gpu = gpu_of(server, gpu_id)
    objective = world.objective_for(server)
    safe = server.planned.per_gpu if server and server.planned else None
    total = gpu.memory_total_bytes if gpu else None
    power = gpu.power_limit_watts if gpu else None

    def query(metric: str) -> ChartQuery:
        return ChartQuery(server=name, metric=metric, kind="gpu", gpu_id=gpu_id)

    of_all = (
        Chart(title="lag p95", query=query("lag_p95_seconds"), show=f.seconds, top=objective, limit=objective),
        Chart(title="streams", query=query("streams_active"), show=f.count,
              top=float(safe or (gpu.slots if gpu else None) or 1), limit=safe),
        Chart(title="engine busy", query=query("busy_ratio"), show=f.percent),
        Chart(title="memory", query=query("memory_used_bytes"), show=f.size, top=total or 1e9),
    )  # fmt: skip
    if gpu is not None and gpu.is_cpu:
        return of_all
    return (
        *of_all,
        Chart(title="temperature", query=query("temperature_celsius"), show=f.celsius, top=90.0, limit=87.0),
        Chart(title="power", query=query("power_watts"), show=_watts, top=power or 100.0),
    )


def _load(world: World, server: ServerView, gpu: GpuFigures) -> list[GpuPageRow]:
    objective = world.objective_for(server)
    safe = server.planned.per_gpu if server.planned else None
    most = safe if safe is not None else gpu.slots
    limit = f"safe {safe}" if safe is not None else "no limit: type :sweep"
    return [
        GpuPageRow("streams", f"{f.count(gpu.streams_active)}/{f.count(most)}", f.share(gpu.streams_active, most),
                "" if most is None else slots_style(gpu.streams_active, most, ""), limit),
        GpuPageRow("speaking", f.count(gpu.streams_speaking), f.share(gpu.streams_speaking, most)),
        GpuPageRow("lag p95", f.seconds(gpu.lag_p95_seconds), f.share(gpu.lag_p95_seconds, objective),
                lag_style(gpu.lag_p95_seconds, objective), f"objective {objective:g} s"),
        GpuPageRow("queue p95", f.seconds(gpu.queue_wait_p95_seconds)),
        GpuPageRow("compute p95", f.seconds(gpu.compute_p95_seconds)),
        GpuPageRow("engine busy", f.percent(gpu.busy_ratio), gpu.busy_ratio, busy_style(gpu.busy_ratio),
                "warns at 85 %"),
        GpuPageRow("batch fill", f.number(gpu.batch_fill_mean)),
        GpuPageRow("speech a second", f"{f.number(gpu.audio_seconds_per_second)} s"),
        GpuPageRow("restarts", f.count(gpu.restarts), None, "warn" if gpu.restarts else ""),
    ]  # fmt: skip


def _device(gpu: GpuFigures) -> list[GpuPageRow]:
    memory = memory_share(gpu)
    throttled = gpu.throttle_reasons
    of_all = [
        GpuPageRow("memory", f.size_of(gpu.memory_used_bytes, gpu.memory_total_bytes), memory, memory_style(memory),
                "warns at 85 %" if not gpu.is_cpu else "of the machine"),
        GpuPageRow("worker memory", f.size(gpu.process_rss_bytes)),
        GpuPageRow("worker cpu", f.percent(gpu.process_cpu_ratio), None, "", "of one core"),
    ]  # fmt: skip
    if gpu.is_cpu:
        return of_all
    return [
        of_all[0],
        GpuPageRow("device busy", f.percent(gpu.gpu_ratio), gpu.gpu_ratio, "", "not saturation"),
        GpuPageRow("memory busy", f.percent(gpu.memory_busy_ratio), gpu.memory_busy_ratio, "", "reading or writing"),
        GpuPageRow("temperature", f.celsius(gpu.temperature_celsius), f.share(gpu.temperature_celsius, 100.0),
                temperature_style(gpu.temperature_celsius), "warns at 80 °C"),
        GpuPageRow("power", f.watts_of(gpu.power_watts, gpu.power_limit_watts),
                f.share(gpu.power_watts, gpu.power_limit_watts)),
        GpuPageRow("clock", f.hertz(gpu.sm_clock_hertz)),
        GpuPageRow("throttle", "none" if throttled == "" else throttled or f.UNKNOWN, None,
                "warn" if throttled else ""),
        GpuPageRow("ECC errors", f.count(gpu.ecc_errors), None, "bad" if gpu.ecc_errors else ""),
        *of_all[1:],
    ]  # fmt: skip


def _line(reading: GpuPageRow) -> Line:
    return line(
        TextSpan(f" {reading.name:<15}", "dim"),
        TextSpan(f"{reading.text:>11}  ", reading.style),
        *(bar(reading.share, _BAR, reading.style or "fill") if reading.share is not None else (TextSpan(" " * _BAR),)),
        TextSpan(f"  {reading.remark}", "dim"),
    )


def _watts(value: float | None) -> str:
    return f.watts_of(value, None)
