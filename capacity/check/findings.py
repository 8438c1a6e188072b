"""What a check found: a line each, with the figures it rests on and what to do."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from rich import box
from rich.table import Table

Answer = Literal["pass", "fail", "not applicable"]

_MARKS = {"pass": "✓ pass", "fail": "✗ fail", "not applicable": "– n/a"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list."""

    check: str
    answer: Answer
    figures: str
    advice: str = ""
    """What to do; empty when there is nothing to do."""


def finding(check: str, good: bool | None, figures: str, advice: str) -> Finding:
    """A line from a measured answer; None: it does not apply here, and the advice says why."""
    answer: Answer = "not applicable" if good is None else "pass" if good else "fail"
    return Finding(check=check, answer=answer, figures=figures, advice="" if good else advice)


def table(findings: Sequence[Finding]) -> Table:
    """The list for people."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    rows.add_column("check")
    rows.add_column("answer", no_wrap=True)
    rows.add_column("figures")
    rows.add_column("what to do")
    for line in findings:
        rows.add_row(line.check, _MARKS[line.answer], line.figures, line.advice)
    return rows


def body(server: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The body of `whisper-ops/check/1`."""
    return {
        "server": server,
        "passed": all(line.answer != "fail" for line in findings),
        "findings": [msgspec.structs.asdict(line) for line in findings],
    }
