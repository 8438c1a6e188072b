"""A report on a terminal, or in a pipe, where each sentence and each row is one line however long it is."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from capacity.reports.report import Report, ReportTable
from whisper_ops.console import table_width

_WIDE = 120
"""Columns from which there is room for two spaces between the columns of a table."""
_COLOURS = {"✓": "green", "✕": "red", "✗": "red", "?": "yellow"}
"""Of a cell, by the glyph that it begins with."""


def show(report: Report, console: Console) -> None:
    """Print a report; on a terminal that it is too long for, the answer and the next step again as the last lines."""
    lines = list(_lines(report, console))
    if console.is_terminal and len(console.render_lines(Group(*lines))) >= console.height:
        lines += ["", Text(report.answer, "bold"), *_next_step(report)]
    for line in lines:
        if isinstance(line, Table):
            console.print(line, width=table_width(console))
        else:
            to_be_copied = isinstance(line, Text) and line.no_wrap
            console.print(line, soft_wrap=to_be_copied or not console.is_terminal)


def _lines(report: Report, console: Console) -> Iterator[RenderableType]:
    yield Text(report.answer, "bold")
    if report.warning:
        yield Text(report.warning)
    yield from map(Text, report.lines if console.is_terminal else report.summary)
    if console.is_terminal:
        yield from _next_step(report)
    if report.about:
        yield ""
        yield from (Text(line, "dim") for line in report.about)
    for section in report.sections:
        yield Text(section.heading and f"\n{section.heading}", "bold")
        yield from map(Text, section.lines)
        if section.table is not None:
            yield _table(section.table, wide=console.width >= _WIDE)
        yield from (Text(f"  {line}", no_wrap=True) for line in section.code)
    if report.notes:
        yield ""
        yield from (Text(f"note: {note}") for note in report.notes)


def _next_step(report: Report) -> Iterator[Text]:
    """The command on a line of its own, which can be copied as it is."""
    if report.next_step:
        yield Text(f"{report.next_step}{':' if report.command else '.'}")
    if report.command:
        yield Text(f"  {report.command}", no_wrap=True)


def _table(shown: ReportTable, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), header_style="dim")
    mark_at = None if shown.binds is None else 1 + max(k for k, one in enumerate(shown.columns) if one.figures)
    for k, column in enumerate(shown.columns):
        if k == mark_at:
            table.add_column("")
        table.add_column(Text(column.title), justify="right" if column.figures else "left", no_wrap=column.figures)
    for number, row in enumerate(shown.rows):
        cells = [Text(cell, _COLOURS.get(cell[:1], "")) for cell in row]
        if mark_at is not None:
            cells.insert(mark_at, Text("◀" if number == shown.binds else ""))
        table.add_row(*cells)
    return table
