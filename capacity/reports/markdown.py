"""A report as Markdown: for a ticket, a wiki or a pull request."""

import re
from collections.abc import Iterator, Sequence

from capacity.reports.report import Report, ReportTable, Section
from whisper_ops.untrusted_text import one_line

_MARKS = re.compile(r"[\\<\[\]]")
"""What begins a tag, a link or a picture. Stars, bars and backticks are our own, and harmless without these."""
_BEGINS_BLOCK = re.compile(r"[#>+=~-]|\d+[.)]")


def markdown(report: Report) -> str:
    """The whole report but its plots."""
    return "\n\n".join(part for part in _parts(report) if part) + "\n"


def _parts(report: Report) -> Iterator[str]:
    yield f"# {_text(report.answer)}"
    yield _text(report.warning)
    yield _bullets(report.summary)
    yield "\n".join(map(_text, report.about))
    for section in report.sections:
        yield from _section(section)
    yield from (f"> {_text(note)}" for note in report.notes)


def _section(section: Section) -> Iterator[str]:
    if section.plots:  # it is about them
        return
    if section.heading:
        yield f"## {_text(section.heading)}"
    yield _bullets(section.lines)
    if section.table is not None:
        yield _table(section.table)
    if section.code:
        yield _fenced(section.code)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(words: str) -> str:
    """Words as Markdown that shows them: no link, no picture, no HTML, no heading or list of their own."""
    plain = _MARKS.sub(r"\\\g<0>", one_line(words))
    return f"\\{plain}" if _BEGINS_BLOCK.match(plain) else plain


def _fenced(lines: Sequence[str]) -> str:
    """Lines as a block of code, whatever they hold."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *map(one_line, lines), fence])


def _table(table: ReportTable) -> str:
    """The first cell of the row that binds is bold."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    if table.binds is not None:
        rows[table.binds][0] = f"**{rows[table.binds][0]}**"
    lines = [[_cell(column.title) for column in table.columns], ["---"] * len(table.columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(words: str) -> str:
    return _MARKS.sub(r"\\\g<0>", one_line(words)).replace("|", "\\|")
