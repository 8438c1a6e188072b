"""The words of an alert, made of its figures where they are shown; nothing reads them back."""

from typing import Protocol

from dashboard.alerts.rules import Rule
from dashboard.view import figures as f
from whisper_ops.history import AlertRecord

_ONLY_ITS_NAME = {"gpu_failed", "gpu_throttled"}
_SILENT = "silent_seconds"


class _Placed(Protocol):
    @property
    def server(self) -> str: ...
    @property
    def gpu_id(self) -> int | None: ...


def place(alert: _Placed) -> str:
    """Where it is."""
    return alert.server if alert.gpu_id is None else f"{alert.server} GPU {alert.gpu_id}"


def said(rule: Rule, value: float) -> str:
    """Which rule, and the value beside its limit, without the place."""
    if rule.figure in _ONLY_ITS_NAME:
        return rule.name
    if rule.figure == _SILENT:
        return f"no answer for {f.duration(value)}"
    limit = f"{'over' if rule.over is not None else 'under'} {amount(rule.figure, rule.limit)}"
    # "slots over 90 %: 96 %" needs no second "over 90 %".
    beside = "" if rule.name.endswith(limit) else f", {limit}"
    return f"{rule.name}: {amount(rule.figure, value)}{beside}"


def told(alert: AlertRecord) -> str:
    """What a stored alert says without the place, which stands beside it on every screen.

    Of an alert without its figures, as an older version kept it, the words that it kept.
    """
    if alert.figure is None or alert.last_value is None or (alert.over_limit is None) == (alert.under_limit is None):
        return alert.sentence.removeprefix(f"{place(alert)}: ")
    rule = Rule(name=alert.rule, figure=alert.figure, over=alert.over_limit, under=alert.under_limit)
    return said(rule, alert.last_value)


def spread(alert: AlertRecord) -> str:
    """What its figure did since it began; nothing where it stood still, or was a time that only grows."""
    least, mean, most = alert.min_value, alert.mean_value, alert.max_value
    if least is None or mean is None or most is None or least == most or alert.figure == _SILENT:
        return ""
    return f"min {least:.3g} avg {mean:.3g} max {most:.3g}"


def ended(alert: AlertRecord) -> str:
    """What is said when it is over: how long it lasted, and what its figure did."""
    lasted = (alert.ended_at or alert.started_at) - alert.started_at
    figures = f"min {alert.min_value:.3g}, mean {alert.mean_value:.3g}, max {alert.max_value:.3g}"
    return f"{place(alert)}: {alert.rule} after {lasted:.0f} s ({figures})"


def amount(figure_name: str, value: float) -> str:
    """A value in the unit that its name ends in."""
    for ending, factor, unit in (
        ("_ratio", 100, " %"), ("_seconds", 1, " s"), ("_celsius", 1, " °C"), ("_bytes", 1e-9, " GB"),
        ("_watts", 1, " W"), ("_hertz", 1e-9, " GHz"), ("_streams", 1, " streams"),
    ):  # fmt: skip
        if figure_name.endswith(ending):
            return f"{value * factor:.3g}{unit}"
    return f"{value:.3g}"
