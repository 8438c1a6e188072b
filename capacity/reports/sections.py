"""A report as sections of sentences, tables and lines of configuration, and its forms: terminal, Markdown, HTML."""

from collections.abc import Sequence
from html import escape

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from capacity.reports.html_page import page
from capacity.reports.plan_markdown import fenced, text
from capacity.reports.plan_markdown import table as markdown_table

Grid = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]
"""Names of columns, and rows."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report under its own heading."""

    heading: str
    lines: tuple[str, ...] = ()
    grid: Grid | None = None
    code: tuple[str, ...] = ()
    """Lines to be copied as they are."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report: the answer first."""

    answer: str
    lines: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()


def show(report: Report, console: Console) -> None:
    """Print a report; in a pipe each sentence and each row is one line."""
    whole = not console.is_terminal
    for line in (report.answer, *report.lines):
        console.print(line, soft_wrap=whole, markup=False)
    for section in report.sections:
        console.print(f"\n{section.heading}", style="bold", soft_wrap=whole, markup=False)
        for line in section.lines:
            console.print(line, soft_wrap=whole, markup=False)
        if section.grid is not None:
            console.print(_rich(section.grid))
        for line in section.code:
            console.print(f"  {line}", soft_wrap=True, markup=False)
    if report.notes:
        console.print()
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=whole, markup=False)


def markdown(report: Report) -> str:
    """The report as Markdown."""
    parts = [f"# {text(report.answer)}", "\n".join(f"- {text(line)}" for line in report.lines)]
    for section in report.sections:
        parts += [f"## {text(section.heading)}", "\n".join(f"- {text(line)}" for line in section.lines)]
        if section.grid is not None:
            parts.append(markdown_table(*section.grid))
        if section.code:
            parts.append(fenced(section.code))
    parts += [f"> {text(note)}" for note in report.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    parts = [f"<h1>{escape(report.answer)}</h1>", *_paragraphs(report.lines)]
    for section in report.sections:
        parts += [f"<h2>{escape(section.heading)}</h2>", *_paragraphs(section.lines)]
        if section.grid is not None:
            parts.append(_table(section.grid))
        if section.code:
            parts.append("<pre>" + "\n".join(escape(line) for line in section.code) + "</pre>")
    parts += [f'<p class="dim">{escape(note)}</p>' for note in report.notes]
    return page(report.answer, parts)


def _paragraphs(lines: Sequence[str]) -> list[str]:
    return [f"<p>{escape(line)}</p>" for line in lines]


def _table(grid: Grid) -> str:
    header, rows = grid
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _rich(grid: Grid) -> Table:
    header, rows = grid
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
