"""Alerts as text, made of their figures; no program reads these sentences."""

from typing import Protocol

from dashboard import figure_text as f
from dashboard.alerts.rules import AlertRule
from whisper_ops.history import AlertRecord

_WITHOUT_VALUE = {"gpu_failed", "gpu_throttled"}
"""Figures that are 0 or 1: the name of the rule says it all."""
_SILENT = "silent_seconds"
_UNITS = (
    ("_bytes_per_second", 1e-6, "MB/s"), ("_audio_seconds_per_second", 1, "s of speech a second"), ("_ratio", 100, "%"),
    ("_seconds", 1, "s"), ("_celsius", 1, "°C"), ("_bytes", 1e-9, "GB"), ("_watts", 1, "W"), ("_hertz", 1e-9, "GHz"),
    ("_streams", 1, "streams"), ("streams_active", 1, "streams"), ("streams_speaking", 1, "streams"),
    ("slots", 1, "slots"), ("slots_used", 1, "slots"), ("slots_per_gpu", 1, "slots"), ("descriptors", 1, "descriptors"),
    ("sockets", 1, "sockets"), ("threads", 1, "threads"), ("ecc_errors", 1, "errors"), ("restarts", 1, "restarts"),
)  # fmt: skip
"""Ending of a figure's name, factor from the base unit, unit shown; the first ending that fits counts."""


class _Located(Protocol):
    @property
    def server(self) -> str: ...
    @property
    def gpu_id(self) -> int | None: ...


def place(alert: _Located) -> str:
    """The server, or the GPU of it."""
    return alert.server if alert.gpu_id is None else f"{alert.server} GPU {alert.gpu_id}"


def alert_text(rule: AlertRule, value: float, gpu_id: int | None = None) -> str:
    """The rule, the value and the limit: `lag over the objective: 1.4 s, over 1 s`. Without the place."""
    if rule.figure in _WITHOUT_VALUE:
        # Of a whole server it is the processor, which stands in for a GPU there.
        return rule.name if gpu_id is not None else rule.name.replace("gpu", "cpu")
    if rule.figure == _SILENT:
        return f"no answer for {f.duration(value)}"
    limit = f"{'over' if rule.over is not None else 'under'} {with_unit(rule.figure, rule.limit)}"
    # "slots over 90 %: 96 %" needs no second "over 90 %".
    suffix = "" if rule.name.endswith(limit) else f", {limit}"
    return f"{rule.name}: {with_unit(rule.figure, value)}{suffix}"


def record_text(alert: AlertRecord) -> str:
    """A stored alert without the place, which every screen shows beside it.

    An older version stored only the sentence, and not the figures: then it is that.
    """
    if alert.figure is None or alert.last_value is None or (alert.over_limit is None) == (alert.under_limit is None):
        return alert.sentence.removeprefix(f"{place(alert)}: ")
    rule = AlertRule(name=alert.rule, figure=alert.figure, over=alert.over_limit, under=alert.under_limit)
    return alert_text(rule, alert.last_value, alert.gpu_id)


def value_range(alert: AlertRecord) -> str:
    """The least, mean and greatest value of its figure; empty where they are equal, or a time that only grows."""
    least, mean, most = alert.min_value, alert.mean_value, alert.max_value
    if least is None or mean is None or most is None or least == most or alert.figure == _SILENT:
        return ""
    return " ".join(_extremes(alert))


def _extremes(alert: AlertRecord) -> list[str]:
    named = (("min", alert.min_value), ("avg", alert.mean_value), ("max", alert.max_value))
    return [f"{name} {with_unit(alert.figure or '', value)}" for name, value in named if value is not None]


def end_text(alert: AlertRecord) -> str:
    """An alert that has ended: how long it lasted, and its least, mean and greatest value."""
    lasted = (alert.ended_at or alert.started_at) - alert.started_at
    return f"{place(alert)}: {alert.rule} after {f.duration(lasted)} ({', '.join(_extremes(alert))})"


def with_unit(figure_name: str, value: float) -> str:
    """A value with the unit that the figure's name ends in: `0.4 s`, `12 streams`."""
    for ending, factor, unit in _UNITS:
        if figure_name.endswith(ending):
            return f"{_digits(value * factor)} {unit}"
    return _digits(value)


def _digits(value: float) -> str:
    """Three digits of what is small, all of what is large: never a power of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # from there on commas help
