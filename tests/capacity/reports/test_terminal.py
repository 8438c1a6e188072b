"""A report on a terminal: what is asked for is seen without scrolling, and what is to be copied is whole."""

import io

import pytest

from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.console import PlainConsole

COMMAND = f"whisper-ops sweep http://asr-1:8000 --levels 4,6,8 --history /{'long/' * 20}history.db"


def report(rows: int) -> Report:
    table = ReportTable(columns("name", "figure", "note", figures=["figure"]), (("a", "1", "x"),) * rows, 0)
    return Report(
        answer="Run 4.", lines=("Why: 5 failed.",), next_step="Next: measure", command=COMMAND,
        sections=(Section(heading="Rows", table=table),), notes=("a note",),
    )  # fmt: skip


def shown(rows: int, *, terminal: bool) -> list[str]:
    file = io.StringIO()
    console = PlainConsole(file=file, width=60, height=24, force_terminal=terminal, color_system=None)
    show(report(rows), console)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(("rows", "times"), [(5, 1), (40, 2)])
def test_the_answer_stands_below_what_is_too_long_for_the_terminal(rows: int, times: int) -> None:
    lines = shown(rows, terminal=True)
    assert lines.count("Run 4.") == lines.count(f"  {COMMAND}") == times
    assert lines[0] == "Run 4."
    assert lines[-3:] == (["Run 4.", "Next: measure:", f"  {COMMAND}"] if times == 2 else lines[-3:])


def test_a_file_gets_one_line_a_sentence_and_the_answer_once() -> None:
    lines = shown(40, terminal=False)
    assert lines[:3] == ["Run 4.", "Why: 5 failed.", f"Next: measure: `{COMMAND}`."]
    assert lines.count("Run 4.") == 1
    assert lines[-1] == "note: a note"


def test_the_row_that_binds_is_marked_behind_its_figure() -> None:
    rows = [line.split() for line in shown(2, terminal=False) if line.startswith("a")]
    assert rows == [["a", "1", "◀", "x"], ["a", "1", "x"]]
