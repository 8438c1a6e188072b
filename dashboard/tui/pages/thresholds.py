"""From which figure on a value is coloured: one place for all screens."""

from dashboard.tui.pages.styled_lines import Style

_EPSILON_SECONDS = 1e-9
"""As of objectives: a figure at its bound meets it, whatever rounding did to it."""


def lag_style(lag: float | None, objective: float) -> Style:
    """Over the objective words come too late; over three quarters of it they soon will. At it they are in time."""
    if lag is not None and 0.75 * objective <= lag <= objective + _EPSILON_SECONDS:
        return "warn"
    return _level(lag, 0.75 * objective, objective)


def memory_style(share: float | None) -> Style:
    """Memory ends at once when it ends."""
    return _level(share, 0.85, 0.95)


def temperature_style(celsius: float | None) -> Style:
    """NVIDIA's data-centre parts slow down in the high eighties."""
    return _level(celsius, 80.0, 87.0)


def busy_style(ratio: float | None) -> Style:
    """An engine that is always busy has no reserve left for a burst."""
    return _level(ratio, 0.85, 0.95)


def slots_style(now: float | None, safe: float, calm: Style = "fill") -> Style:
    """Over the safe limit is bad, the last tenth before it a warning."""
    return _level(now, 0.9 * safe, safe + 0.5, calm)


def _level(value: float | None, warn: float, bad: float, calm: Style = "") -> Style:
    if value is None:
        return "dim"
    return "bad" if value >= bad else "warn" if value >= warn else calm
