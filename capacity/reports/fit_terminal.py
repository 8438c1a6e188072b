"""A fit as a person reads it: the capacity first, then predictions, then which models lost."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from capacity.fit.fit_document import Fit
from whisper_ops.formatting import counted


def show(fit: Fit, console: Console) -> None:
    """Print one fit."""
    if fit.key:
        title = ", ".join(f"{column} {value}" for column, value in fit.key.items())
        console.print(title, style="bold", soft_wrap=not console.is_terminal, markup=False)
    console.print(headline(fit), soft_wrap=not console.is_terminal, markup=False)
    console.print(f"Why: {fit.capacity.reason}.", soft_wrap=not console.is_terminal, markup=False)
    if fit.predictions:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("load", "expected", "80 % between"):
            table.add_column(name, justify="right")
        for row in fit.predictions:
            figures = (f"{row.load:g}", _figure(row.value, fit), f"{row.low:.4g} – {_figure(row.high, fit)}")
            table.add_row(*(Text(figure) for figure in figures))
        console.print(table)
    if fit.model is not None:
        scores = " · ".join(
            f"{name} {'—' if score is None else f'{score:.3f}'}"
            for name, score in sorted(fit.scores.items(), key=_rank)
        )
        console.print(
            f"Model: {fit.model}, of {counted(fit.levels, 'level')}. Held-out error: {scores}.",
            soft_wrap=not console.is_terminal,
        )
    for left_out in fit.left_out:
        console.print(f"left out: {left_out}", soft_wrap=not console.is_terminal, markup=False)


def headline(fit: Fit) -> str:
    """The capacity in one line, with its status."""
    capacity = fit.capacity
    if capacity.status == "not_identifiable":
        return "Capacity: not identifiable."
    if capacity.status == "upper_bound":
        return f"Capacity: under {capacity.high:g} (upper bound)."
    assert capacity.low is not None
    if capacity.high is None:
        return f"Capacity: at least {capacity.low:.4g} (lower bound)."
    middle = "" if capacity.estimate is None else f" about {capacity.estimate:.4g},"
    return (
        f"Capacity:{middle} between {capacity.low:.4g} and {capacity.high:.4g} ({capacity.status.replace('_', ' ')})."
    )


def _figure(value: float, fit: Fit) -> str:
    return f"{value:.4g} {fit.unit or ''}".rstrip()


def _rank(item: tuple[str, float | None]) -> float:
    return float("inf") if item[1] is None else item[1]
