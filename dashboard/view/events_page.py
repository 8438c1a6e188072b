"""Events: what happened, as opposed to what was read, newest first."""

from dashboard.view import figures as f
from dashboard.view.lines import BLANK, Line, Page, Span, cut, line
from dashboard.view.world import World

_KINDS = {"recorder_started": "recording", "recorder_stopped": "stopped"}
"""Kinds that have a shorter word on the screen."""


def events_page(world: World, width: int) -> Page:
    """Every event that is known at this moment."""
    crumbs = ("fleet", "events")
    head = (line(Span(f" {world.trouble or world.recording or 'from the history'}", "dim")), BLANK)
    if not world.events:
        return Page(crumbs=crumbs, head=head, body=(line(Span(" nothing has been noted yet", "dim")),))
    lines = []
    names = max(len(event.server or "") for event in world.events)
    for number, event in enumerate(world.events):
        spans = (
            Span(f" {f.moment(event.at) if width >= 90 else f.clock(event.at)}  ", "dim"),
            Span(f"{_KINDS.get(event.kind, event.kind):<10}", "accent"),
            Span(f"{event.server or '':<{names}}  ", "title"),
            Span(event.detail),
        )
        lines.append(Line(cut(spans, width), f"event {number} {event.at!r}"))
    return Page(crumbs=crumbs, head=head, body=tuple(lines))
