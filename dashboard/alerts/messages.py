"""The words of an alert, made of its figures where they are shown; nothing reads them back."""

from typing import Protocol

from dashboard import figure_text as f
from dashboard.alerts.rules import AlertRule
from whisper_ops.history import AlertRecord

_ONLY_ITS_NAME = {"gpu_failed", "gpu_throttled"}
_SILENT = "silent_seconds"
_UNITS = (
    ("_bytes_per_second", 1e-6, "MB/s"), ("_audio_seconds_per_second", 1, "s of speech a second"), ("_ratio", 100, "%"),
    ("_seconds", 1, "s"), ("_celsius", 1, "°C"), ("_bytes", 1e-9, "GB"), ("_watts", 1, "W"), ("_hertz", 1e-9, "GHz"),
    ("_streams", 1, "streams"), ("streams_active", 1, "streams"), ("streams_speaking", 1, "streams"),
    ("slots", 1, "slots"), ("slots_used", 1, "slots"), ("slots_per_gpu", 1, "slots"), ("descriptors", 1, "descriptors"),
    ("sockets", 1, "sockets"), ("threads", 1, "threads"), ("ecc_errors", 1, "errors"), ("restarts", 1, "restarts"),
)  # fmt: skip
"""Endings of figures' names, the factor from base units, and what is said; the first that fits counts."""


class _Placed(Protocol):
    @property
    def server(self) -> str: ...
    @property
    def gpu_id(self) -> int | None: ...


def place(alert: _Placed) -> str:
    """Where it is."""
    return alert.server if alert.gpu_id is None else f"{alert.server} GPU {alert.gpu_id}"


def said(rule: AlertRule, value: float, gpu_id: int | None = None) -> str:
    """Which rule, and the value beside its limit, without the place."""
    if rule.figure in _ONLY_ITS_NAME:
        # Of a whole server it is the processor, which stands in for a GPU there.
        return rule.name if gpu_id is not None else rule.name.replace("gpu", "cpu")
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
    rule = AlertRule(name=alert.rule, figure=alert.figure, over=alert.over_limit, under=alert.under_limit)
    return said(rule, alert.last_value, alert.gpu_id)


def spread(alert: AlertRecord) -> str:
    """What its figure did since it began; nothing where it stood still, or was a time that only grows."""
    least, mean, most = alert.min_value, alert.mean_value, alert.max_value
    if least is None or mean is None or most is None or least == most or alert.figure == _SILENT:
        return ""
    return " ".join(_extremes(alert))


def _extremes(alert: AlertRecord) -> list[str]:
    """The least, the mean and the greatest value of its figure, in the unit of the rule."""
    named = (("min", alert.min_value), ("avg", alert.mean_value), ("max", alert.max_value))
    return [f"{name} {amount(alert.figure or '', value)}" for name, value in named if value is not None]


def ended(alert: AlertRecord) -> str:
    """What is said when it is over: how long it lasted, and what its figure did."""
    lasted = (alert.ended_at or alert.started_at) - alert.started_at
    return f"{place(alert)}: {alert.rule} after {f.duration(lasted)} ({', '.join(_extremes(alert))})"


def amount(figure_name: str, value: float) -> str:
    """A value in the unit that its name ends in; of a count, in what is counted."""
    for ending, factor, unit in _UNITS:
        if figure_name.endswith(ending):
            return f"{_digits(value * factor)} {unit}"
    return _digits(value)


def _digits(value: float) -> str:
    """Three digits of what is small, all of what is large: never a power of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # from there on commas help
