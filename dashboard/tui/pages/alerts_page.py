"""Alerts, active and past: since when, for how long, and a sentence."""

from collections.abc import Sequence

from dashboard import figure_text as f
from dashboard.tui.pages.row_keys import alert_key
from dashboard.tui.pages.styled_lines import BLANK, Line, Page, TextSpan, cut, line, wrapped
from dashboard.world import AlertView, World


def alerts_page(world: World, width: int) -> Page:
    """All alerts that are known at this moment."""
    active = [alert for alert in world.alerts if alert.until is None]
    past = [alert for alert in world.alerts if alert.until is not None]
    body: list[Line] = []
    body += _block(f" {len(active)} active", active, world, width) or [line(TextSpan(" ● no active alert", "ok"))]
    body += [BLANK, *_block(f" {len(past)} past", past, world, width)] if past else []
    return Page(crumbs=("fleet", "alerts"), body=tuple(body))


def _block(title: str, alerts: Sequence[AlertView], world: World, width: int) -> list[Line]:
    lines = [line(TextSpan(title, "accent"))] if alerts else []
    for alert in alerts:
        lines += _alert(alert, world, width)
    return lines


def _alert(alert: AlertView, world: World, width: int) -> list[Line]:
    over = alert.until is not None
    lasted = f.duration((alert.until if alert.until is not None else world.now) - alert.since)
    glyph, word = ("●", "over") if over else ("✕", "bad") if alert.severity == "bad" else ("▲", "warning")
    where = alert.server if alert.gpu_id is None else f"{alert.server} gpu {alert.gpu_id}"
    spans = (
        TextSpan(f" {glyph} {word:<8}", "dim" if over else alert.severity),
        TextSpan(f"{f.moment(alert.since) if width >= 90 else f.clock(alert.since)}  ", "dim"),
        TextSpan(f"{'lasted' if over else 'for'} {lasted:<11}", "dim"),
        TextSpan(f"{where}  ", "title"),
        TextSpan(alert.rule, "label"),
    )
    sentence = f"{alert.sentence} ({alert.spread})" if alert.spread else alert.sentence
    return [Line(cut(spans, width), alert_key(alert)), *wrapped(sentence, width, "     ", "dim" if over else "")]
