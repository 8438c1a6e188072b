"""A fit as a report: the capacity first, then predictions, then the models that competed."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from capacity.fit.fit_document import Fit, FitRequest, document
from capacity.reports.output import Output
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.formatting import counted


def output(fits: Sequence[Fit], question: FitRequest) -> Output:
    """The fits of a file in their forms, a report a curve."""

    def show_each(console: Console) -> None:
        for fit in fits:
            show(report(fit), console)

    return Output(schema="fit", body=lambda: document(fits, question), show=show_each)


def report(fit: Fit) -> Report:
    """One curve; of several, its key first."""
    key = ", ".join(f"{column} {value}" for column, value in fit.key.items())
    capacity, why = headline(fit), f"Why: {fit.capacity.reason}."
    return Report(answer=key or capacity, lines=(capacity, why) if key else (why,), sections=tuple(_sections(fit)))


def _sections(fit: Fit) -> Iterator[Section]:
    titles = ("load", "expected", "80 % between")
    rows = tuple(
        (f"{row.load:g}", _figure(row.value, fit), f"{row.low:.4g} – {_figure(row.high, fit)}")
        for row in fit.predictions
    )
    lines = [] if fit.model is None else [_competed(fit)]
    lines += [f"left out: {why}" for why in fit.left_out]
    if rows:
        yield Section(table=ReportTable(columns(*titles, figures=titles), rows))
    if lines:
        yield Section(lines=tuple(lines))


def _competed(fit: Fit) -> str:
    scores = " · ".join(
        f"{name} {'—' if score is None else f'{score:.3f}'}" for name, score in sorted(fit.scores.items(), key=_rank)
    )
    return f"Model: {fit.model}, of {counted(fit.levels, 'level')}. Held-out error: {scores}."


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
