"""The rows of the fleet screen: a server, a GPU under it, and the sentence that says why a server is not well."""

from dashboard import figure_text as f
from dashboard.device_names import device, device_in_sentence
from dashboard.tui.pages.broker_members import members_not_well
from dashboard.tui.pages.filter_fields import largest, memory_share
from dashboard.tui.pages.gauges import knee, spark
from dashboard.tui.pages.row_keys import gpu_key, server_key
from dashboard.tui.pages.server_states import ServerLoad, gpu_state, server_state
from dashboard.tui.pages.styled_lines import Cell, Line, TextSpan, cell, wrapped
from dashboard.tui.pages.text_table import TextColumn, TextTable
from dashboard.tui.pages.thresholds import slots_style
from dashboard.tui.pages.usage_cells import usage_cells
from dashboard.world import ServerView, World, stale
from whisper_ops.formatting import plural_of
from whisper_ops.known_software import LOCAL
from whisper_ops.snapshot import GpuFigures, Snapshot

GAUGE_CELLS = 15
_MANY = 0.7
"""From this share of slots on a server calls itself degraded for them."""

COLUMNS = (
    TextColumn(key="server", sorts="server", title="   server", width=14, grows=True),
    TextColumn(key="state", sorts="state", title="state", width=10),
    TextColumn(key="gauge", title="now │safe│ seen", width=GAUGE_CELLS, at=97),
    TextColumn(key="slots", sorts="slots", title="slots", width=8, align="right"),
    TextColumn(key="lag", sorts="lag", title="lag p95", width=8, align="right"),
    TextColumn(key="trend", title="5 min", width=10, at=58),
    TextColumn(key="rejects", sorts="rejects", title="rej/m", width=5, align="right", at=106),
    TextColumn(key="busy", sorts="busy", title="busy", width=5, align="right", at=78),
    TextColumn(key="memory", sorts="memory", title="mem", width=5, align="right", at=97),
    TextColumn(key="temp", sorts="temp", title="temp", width=5, align="right", at=72),
    TextColumn(key="age", sorts="age", title="age", width=8, align="right", at=118),
)


_BEFORE_NAME = 3
"""Cells of glyph and spaces."""
_SIMULATED = (" simulated", " sim")


def name_cells(world: World) -> int:
    """Cells that the longest name takes, with what marks a simulated one: a server has one name, and that whole."""
    names = (len(server.name) + len(_SIMULATED[-1]) * server.simulated for server in world.servers)
    return _BEFORE_NAME + max(names, default=0)


def server_row(world: World, server: ServerView, table: TextTable) -> Line:
    """One server. A silent one keeps its name, the gap in its sparkline and the age of its answer: no old figures."""
    state = server_state(server, world)
    objective = world.objective_for(server)
    cells: dict[str, Cell] = {
        "server": (TextSpan(f" {state.glyph} ", state.style), *_name(server, table)),
        "state": cell(state.word, state.style),
        "trend": spark(server.lag, objective, warn_at=0.75 * objective),
        "age": cell(f.duration(world.now - server.answer.at) if server.answer else f.UNKNOWN, "dim"),
        "gauge": cell("·" * GAUGE_CELLS, "rest"),
        "lag": cell(f.UNKNOWN, "dim"),
    }
    if server.answer is not None and server.answer.figures is not None and not server.silent:
        figures, gpus = server.answer.figures, server.answer.gpus
        cells |= {
            "gauge": _gauge(server, figures.streams_active),
            "slots": _slots(server, figures.streams_active, figures.slots),
            "rejects": cell(f.count(server.rejects_per_minute), "bad" if server.rejects_per_minute else ""),
        }
        cells |= usage_cells(
            lag=figures.lag_p95_seconds,
            objective=objective,
            busy=largest(gpu.busy_ratio for gpu in gpus),
            memory=largest(memory_share(gpu) for gpu in gpus),
            temperature=largest(gpu.temperature_celsius for gpu in gpus),
        )
    return table.row(cells, key=server_key(server.name))


def gpu_row(world: World, server: ServerView, gpu: GpuFigures, table: TextTable) -> Line:
    """One GPU, under its server."""
    state = gpu_state(gpu, server, world)
    objective = world.objective_for(server)
    trend = next((trend.lag for trend in server.gpu_lag if trend.gpu_id == gpu.gpu_id), ())
    safe = server.planned.per_gpu if server.planned else None
    cells: dict[str, Cell] = {
        "server": (
            TextSpan("   └ ", "rest"),
            TextSpan(device(gpu)),
            TextSpan("" if gpu.is_cpu else f"  {short_name(gpu.name)}", "dim"),
        ),
        "state": state.cell if not state.well else cell(state.word, "dim"),
        "gauge": knee(gpu.streams_active, safe, None, GAUGE_CELLS, slots_style(gpu.streams_active, safe), thin=True)
        if safe is not None
        else (),
        "slots": cell(f"{f.count(gpu.streams_active)}/{f.count(safe if safe is not None else gpu.slots)}"),
        "trend": spark(trend, objective, warn_at=0.75 * objective),
    } | usage_cells(
        lag=gpu.lag_p95_seconds,
        objective=objective,
        busy=gpu.busy_ratio,
        memory=memory_share(gpu),
        temperature=gpu.temperature_celsius,
    )
    return table.row(cells, key=gpu_key(server.name, gpu.gpu_id))


def reasons(world: World, server: ServerView, width: int) -> list[Line]:
    """Why a server is not well, in a sentence under its row; nothing when it is."""
    if server.newest is None:
        return _reason_lines(f"waiting for the first answer from {server.name}", width)
    if server.silent:
        return _reason_lines(_silence_sentence(world, server), width)
    reasons_here = (
        *_user_impact(world, server),
        *_reported_reasons(server),
        *unreadable_gpus(server.answer),
        *_without_gpu(server),
    )
    sentences = [*reasons_here, *members_not_well(world, server)]
    return [part for sentence in sentences for part in _reason_lines(sentence, width)]


def _reported_reasons(server: ServerView) -> list[str]:
    """Why a server says itself that it is not well."""
    figures = server.answer.figures if server.answer else None
    if server.answer is None or figures is None or figures.status not in {"degraded", "critical", "draining"}:
        return []
    failed = [_failure(gpu) for gpu in server.answer.gpus if gpu.state == "failed"]
    if figures.status == "draining":
        return ["; ".join((_drain_sentence(figures.streams_active), *failed))]
    used = (
        f"{f.count(figures.slots_used)} of {f.count(figures.slots)} slots are taken"
        if figures.slots
        else "no slot is left"
    )
    if server.answer.members is not None and figures.slots and (figures.slots_used or 0) < _MANY * figures.slots:
        used = ""  # it is not its slots, but one of its servers, as the next sentence says
    refused = f"{f.count(server.rejects_per_minute)} a minute are refused" if server.rejects_per_minute else ""
    return ["; ".join(part for part in (*failed, used, refused) if part)]


def _user_impact(world: World, server: ServerView) -> list[str]:
    """What users feel of it, whatever the server says of itself: how late words are, and that it holds too many."""
    figures = server.answer.figures if server.answer else None
    if figures is None or server.answer is None or stale(server.answer, world.now, world.interval):
        return []
    objective, plan = world.objective_for(server), server.planned
    load, sentences = ServerLoad(figures.lag_p95_seconds, figures.streams_active, objective), []
    if load.late:
        sentences.append(f"words are late: lag p95 {f.seconds(load.lag)}, the objective is {objective:g} s")
    if plan is not None and load.over(plan.safe):
        limit = f"the provisional limit of {plan.safe}" if plan.provisional else f"the planned limit of {plan.safe}"
        sentences.append(f"{f.counted(load.streams, 'connection')}, over {limit}")
    return ["; ".join(sentences)] if sentences else []


def unreadable_gpus(answer: Snapshot | None) -> list[str]:
    """Why GPUs have no readings, a sentence a reason; GPUs that share one are named together."""
    if answer is None:
        return []
    every = answer.figures.reading_error if answer.figures else None
    whose: dict[str, list[int]] = {}
    for gpu in answer.gpus:
        if gpu.reading_error is not None and gpu.reading_error != every:
            whose.setdefault(gpu.reading_error, []).append(gpu.gpu_id)
    parts = [
        f"{plural_of(len(ids), 'GPU')} {', '.join(str(gpu) for gpu in ids)} cannot be read: {why}"
        for why, ids in whose.items()
    ]
    return [f"no GPU can be read: {every}", *parts] if every is not None else parts


def _failure(gpu: GpuFigures) -> str:
    after = f" after its worker was started again {f.times(gpu.restarts)}" if gpu.restarts else ""
    return f"{device_in_sentence(gpu)} failed{after}"


def _without_gpu(server: ServerView) -> list[str]:
    """Of a machine that is watched without a server: that there is no GPU to see."""
    answer = server.answer
    bare = answer is not None and answer.identity is not None and answer.identity.software == LOCAL and not answer.gpus
    return ["no NVIDIA GPU was found here; enter shows the processor and the memory"] if bare else []


def _drain_sentence(streams: int | None) -> str:
    """What a drained server does with streams, and the way back."""
    there = {None: "those there go on", 0: "none is left", 1: "the 1 there goes on"}
    left = there.get(streams, f"the {f.count(streams)} there go on")
    return f"it drains: no new stream is let in, {left}; :undrain ends that"


def _silence_sentence(world: World, server: ServerView) -> str:
    why = (server.newest.error if server.newest else None) or "no answer"
    parts = [f"{why.rstrip('.')}, since {f.clock(server.silent_since)}"]
    if server.next_try_at is not None and world.mode == "live":
        parts[0] += f", next try in {max(0, round(server.next_try_at - world.now))} s"
    if server.answer is not None and server.answer.figures is not None:
        figures = server.answer.figures
        parts.append(
            f"last seen {figures.status or 'answering'} with {f.counted(figures.streams_active, 'connection')}"
        )
    return "; ".join(parts)


def _reason_lines(sentence: str, width: int) -> list[Line]:
    return wrapped(sentence, width - 1, indent="    ", style="dim")


def _name(server: ServerView, table: TextTable) -> Cell:
    """The name, and that it is simulated: what is cut for want of room is the name, never the label."""
    room = table.width_of("server") - _BEFORE_NAME
    label = next((text for text in _SIMULATED if len(server.name) + len(text) <= room), _SIMULATED[-1])
    name = cell(f.fitted(server.name, room - len(label) * server.simulated), "title")
    return (*name, TextSpan(label, "note")) if server.simulated else name


def _gauge(server: ServerView, now: int | None) -> Cell:
    plan = server.planned
    if plan is None:
        return cell("no limit yet", "dim")
    return knee(now, plan.safe, plan.last_pass, GAUGE_CELLS, slots_style(now, plan.safe))


def _slots(server: ServerView, now: int | None, slots: int | None) -> Cell:
    """Connections over the safe limit where one was measured, else over the slots; `~` where it is provisional."""
    plan = server.planned
    if plan is None:
        return cell(f.over(now, slots))
    style = slots_style(now, plan.safe, "")
    whole = f.over(now, plan.safe, 7 if plan.provisional else 8)
    return cell(whole.replace("/", "/~") if plan.provisional else whole, style)


def short_name(name: str | None) -> str:
    """What tells a GPU from another in few cells: `H100`, `RTX 4090`."""
    words = [word for word in (name or "").split() if word not in {"NVIDIA", "Tesla", "GeForce"}]
    if words[:1] == ["simulated"]:
        return "sim"
    return " ".join(words[:2] if words[:1] in (["RTX"], ["GTX"]) else words[:1])
