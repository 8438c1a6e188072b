"""The fleet at a glance: the answer first (how many, how late), then a row a server, and why one is not well."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from dashboard import figure_text as f
from dashboard.tui.pages.filter_fields import facts, gpu_facts, ordered
from dashboard.tui.pages.filters import Filter, parse
from dashboard.tui.pages.fleet_rows import COLUMNS, gpu_row, name_cells, reasons, server_row
from dashboard.tui.pages.styled_lines import (
    BLANK,
    Cell,
    Line,
    Page,
    Style,
    TextSpan,
    cut,
    folded,
    line,
    width_of,
    wrapped,
)
from dashboard.tui.pages.text_table import TextTable
from dashboard.tui.pages.thresholds import lag_style
from dashboard.world import AlertView, ServerView, World
from whisper_ops.formatting import counted
from whisper_ops.known_software import LOCAL

Expand = Literal["auto", "open", "closed"]

_MOST_ALERTS = 4
_WIDE, _ROOMY = 112, 76
"""From these widths on all totals stand in one line, and there is room between them."""


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """How the fleet is looked at."""

    sort: str = "state"
    filter: str = ""
    expand: Expand = "auto"
    """Whether GPUs are unfolded under their server; auto: when the screen has the room."""
    toggled: frozenset[str] = frozenset()
    """Servers that were folded or unfolded by hand."""


def fleet_page(world: World, view: FleetView, width: int, height: int = 24) -> Page:
    """The fleet screen for a terminal of that size."""
    table = TextTable(COLUMNS, width, name_cells(world))
    chosen = parse(view.filter)
    unfold = _unfold(world, view, height)
    body: list[Line] = []
    for server in ordered(world, view.sort):
        gpus = server.answer.gpus if server.answer and not server.silent else ()
        # Facts are dear at hundreds of GPUs: they are put together only when there is a filter to ask them.
        if chosen.alternatives:
            gpus = tuple(gpu for gpu in gpus if chosen.meets(gpu_facts(gpu, server, world)))
            if not gpus and not chosen.meets(facts(server, world)):
                continue
        body += [server_row(world, server, table), *reasons(world, server, width)]
        if unfold is not (server.name in view.toggled):
            body += [gpu_row(world, server, gpu, table) for gpu in gpus]
    body += _empty_note(world, chosen) if not body else _first_steps(world, width)
    return Page(
        crumbs=("fleet",),
        head=(*_totals(world, view, width), table.header(view.sort)),
        body=(*body, *_trouble(world, view, width), *_alert_lines(world, width)),
    )


def _unfold(world: World, view: FleetView, height: int) -> bool:
    if view.expand != "auto":
        return view.expand == "open"
    rows = sum(1 + len(server.answer.gpus if server.answer else ()) for server in world.servers)
    return rows <= max(1, height - 10)


def _empty_note(world: World, chosen: Filter) -> list[Line]:
    if chosen.alternatives and world.servers:
        return [line(TextSpan("  no server meets the filter; esc clears it", "dim"))]
    if world.mode == "replay":
        return [line(TextSpan("  nothing was recorded in the five minutes before this moment", "dim"))]
    return [line(TextSpan("  no server: name one, as in whisper-ops dash http://localhost:8000", "dim"))]


def _first_steps(world: World, width: int) -> list[Line]:
    """Where not one server has ever answered: what somebody who tries this for the first time may do."""
    asked = [server for server in world.servers if not _is_machine(server)]
    if world.mode == "replay" or any(server.answer is not None or not server.silent for server in asked):
        return []
    first = "No speech server has answered yet."
    text = f"{first} whisper-ops serve starts one on this machine, whisper-ops demo shows everything."
    return [BLANK, *wrapped(text, width, "  ", "note")]


def _is_machine(server: ServerView) -> bool:
    """Whether it is this machine's readings alone: they are there whether a server runs or not."""
    identity = server.answer.identity if server.answer else None
    return identity is not None and identity.software == LOCAL


def _trouble(world: World, view: FleetView, width: int) -> list[Line]:
    """The whole of what is wrong with the recording, below the rows, where the line above them has no room for it."""
    whole = width_of(_notices(world, view)) <= width
    return [] if world.trouble is None or whole else [BLANK, *wrapped(f"▲ {world.trouble}", width, " ", "warn")]


def _notices(world: World, view: FleetView) -> Cell:
    """What is narrowed down, and what is wrong with the recording."""
    spans: list[TextSpan] = []
    if view.filter:
        spans += [TextSpan(" filter ", "dim"), TextSpan(view.filter, "accent"), TextSpan("  esc clears it  ", "dim")]
    if world.trouble:
        spans.append(TextSpan(f" ▲ {world.trouble}", "warn", "events"))
    return tuple(spans)


def _totals(world: World, view: FleetView, width: int) -> tuple[Line, ...]:
    """The answer in one line, on a narrow terminal in two, and a line for notices.

    How many lines these are is a matter of the width alone: what comes and goes in them moves no row of the table.
    """
    answers = [server.answer.figures for server in world.servers if _answering(server) and server.answer]
    known = [figures for figures in answers if figures is not None]
    speaking = _sum(figures.streams_speaking for figures in known)
    connected = _sum(figures.streams_active for figures in known)
    lag, objective = _worst_lag(world)
    rejects = _sum(server.rejects_per_minute for server in world.servers if _answering(server))
    gap = "    " if width >= _ROOMY else "  "
    load: tuple[TextSpan | str, ...] = (
        " speaking ", TextSpan(f.count(speaking), "title"), " / connected ", TextSpan(f.count(connected), "title"),
        gap, *_safe_limit(world),
    )  # fmt: skip
    quality: tuple[TextSpan | str, ...] = (
        "worst lag p95 ", TextSpan(f.seconds(lag), lag_style(lag, objective) or "title"),
        TextSpan(f" of {objective:g} s", "dim"), f"{gap}rejects ",
        TextSpan(f"{f.count(rejects)}/min", "bad" if rejects else "title"), gap, _alert_count(world),
    )  # fmt: skip
    notices = _notices(world, view)
    whole = line(*load, gap, *quality)
    if width >= _WIDE and len(whole.text) <= width:
        return (whole, Line(cut(notices, width)))
    first, second = line(*load), line(" ", *quality)
    if width >= _WIDE:
        return (first, Line(cut((*second.spans, TextSpan("   "), *notices), width)))
    return (*folded(first, width), *folded(second, width), Line(cut(notices, width)))


def _worst_lag(world: World) -> tuple[float | None, float]:
    """The lag that is furthest in what it may be, and that objective: each server has its own."""
    others = world.objective_seconds  # it asks every server: once, not for each of them
    lags = (
        (server.answer.figures.lag_p95_seconds, server.planned.objective_seconds if server.planned else others)
        for server in world.servers
        if _answering(server) and server.answer and server.answer.figures
    )
    known = [(lag, objective) for lag, objective in lags if lag is not None]
    return max(known, key=lambda one: one[0] / max(one[1], 1e-9), default=(None, others))


def _answering(server: ServerView) -> bool:
    return server.answer is not None and not server.silent


def _safe_limit(world: World) -> tuple[TextSpan | str, ...]:
    knees = [server.planned for server in world.servers if _answering(server)]
    planned = [knee for knee in knees if knee is not None]
    if not planned:
        return (TextSpan("no measured limit: type :sweep", "dim"),)
    total = f.count(sum(knee.safe for knee in planned))
    where = "" if len(planned) == len(knees) else f" on {len(planned)} of {len(world.servers)} servers"
    return ("safe limit ", TextSpan(f"{total}{where}", "title"))


def _alert_count(world: World) -> TextSpan:
    active = [alert for alert in world.alerts if alert.until is None]
    if not active:
        return TextSpan("● no alert", "ok")
    worst: Style = "bad" if any(alert.severity == "bad" for alert in active) else "warn"
    return TextSpan(f"▲ {counted(len(active), 'alert')}", worst, "alerts")


def _alert_lines(world: World, width: int) -> list[Line]:
    active = [alert for alert in world.alerts if alert.until is None][:_MOST_ALERTS]
    return [BLANK, *(alert_line(alert, width) for alert in active)] if active else []


def alert_line(alert: AlertView, width: int) -> Line:
    """An alert in one line, as on the fleet screen."""
    glyph = "●" if alert.until is not None else "✕" if alert.severity == "bad" else "▲"
    spans = (
        TextSpan(f" {glyph} ", "dim" if alert.until is not None else alert.severity),
        TextSpan(f"{f.clock(alert.since)}  ", "dim"),
        TextSpan(f"{alert.server}{'' if alert.gpu_id is None else f' gpu {alert.gpu_id}'}  "),
        TextSpan(alert.sentence),
    )
    return Line(cut(spans, width - 1))


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
