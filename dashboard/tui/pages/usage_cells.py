"""Cells that every table shows alike of a server and of a GPU."""

from dashboard import figure_text as f
from dashboard.tui.pages.styled_lines import Cell, cell
from dashboard.tui.pages.thresholds import busy_style, lag_style, memory_style, temperature_style


def usage_cells(
    *,
    lag: float | None,
    objective: float,
    busy: float | None,
    memory: float | None,
    temperature: float | None,
) -> dict[str, Cell]:
    """By the key of their column. `lag` and `objective` in seconds, `busy` and `memory` 0 to 1, `temperature` in °C."""
    return {
        "lag": cell(f.seconds(lag), lag_style(lag, objective)),
        "busy": cell(f.percent(busy), busy_style(busy)),
        "memory": cell(f.percent(memory), memory_style(memory)),
        "temp": cell(f.celsius(temperature), temperature_style(temperature)),
    }
