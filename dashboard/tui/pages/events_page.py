"""Events: what happened, as opposed to what was read, newest first."""

from dashboard import figure_text as f
from dashboard.tui.pages.styled_lines import BLANK, Line, Page, TextSpan, line, width_of, wrapped
from dashboard.world import World

_KINDS = {"recorder_started": "recording", "recorder_stopped": "stopped"}
"""Kinds that have a shorter word on the screen."""
_LEAST = 20
"""Cells for a sentence beside a long name."""


def events_page(world: World, width: int) -> Page:
    """Every event known at this moment."""
    crumbs = ("fleet", "events")
    head = (*wrapped(world.trouble or world.recording or "from the history", width, " ", "dim"), BLANK)
    if not world.events:
        return Page(crumbs=crumbs, head=head, body=(line(TextSpan(" no event yet", "dim")),))
    lines = []
    at = f.moment if width >= 90 else f.clock
    names = max(len(event.server or "") for event in world.events)
    for number, event in enumerate(world.events):
        lead = (
            TextSpan(f" {at(event.at)}  ", "dim"),
            TextSpan(f"{_KINDS.get(event.kind, event.kind):<10}", "accent"),
            TextSpan(f"{event.server or '':<{names}}  ", "title"),
        )
        begun = width_of(lead)
        first, *rest = wrapped(event.detail, max(width - begun, _LEAST)) or [Line()]
        lines.append(Line((*lead, *first.spans), f"event {number} {event.at!r}"))
        # A long sentence is read to its end, where there is the most room for it.
        lines += wrapped(" ".join(part.text for part in rest), width, "     ")
    return Page(crumbs=crumbs, head=head, body=tuple(lines))
