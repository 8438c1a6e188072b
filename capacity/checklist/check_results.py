"""What a check found: a line each, with the figures it rests on and what to do."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from rich import box
from rich.table import Table

from whisper_ops.formatting import counted, plural_of

Answer = Literal["pass", "fail", "not applicable"]

_MARKS = {"pass": "✓ pass", "fail": "✗ fail", "not applicable": "– n/a"}
_WIDE = 140
"""Characters in which four columns are easy to read."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list."""

    check: str
    answer: Answer
    figures: str
    advice: str = ""
    """What to do; empty when there is nothing to do."""


def check_result(check: str, good: bool | None, figures: str, advice: str) -> CheckResult:
    """A line from a measured answer; None: it does not apply here, and the advice says why."""
    answer: Answer = "not applicable" if good is None else "pass" if good else "fail"
    return CheckResult(check=check, answer=answer, figures=figures, advice="" if good else advice)


def table(findings: Sequence[CheckResult], width: int) -> Table:
    """The list for people, in `width` characters: where they are few, what to do stands below the figures."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    rows.add_column("answer", no_wrap=True)
    rows.add_column("check", max_width=None if width >= _WIDE else width * 2 // 5)
    rows.add_column("figures")
    if width >= _WIDE:
        rows.add_column("what to do")
    for line in findings:
        below = f"{line.figures}\n→ {line.advice}" if line.advice else line.figures
        cells = (line.figures, line.advice) if width >= _WIDE else (below,)
        rows.add_row(_MARKS[line.answer], line.check, *cells)
    return rows


def verdict(findings: Sequence[CheckResult]) -> str:
    """The answer to all of it in a sentence, for the end of the list."""
    failed = [line.check for line in findings if line.answer == "fail"]
    apply = sum(line.answer != "not applicable" for line in findings)
    rest = len(findings) - apply
    others = f"; {counted(rest, 'other')} {plural_of(rest, 'does', 'do')} not apply here" if rest else ""
    if failed:
        return f"{len(failed)} of {counted(apply, 'check')} failed: {', '.join(failed)}{others}."
    return f"{counted(apply, 'check')} passed and none failed{others}."


def body(server: str, findings: Sequence[CheckResult]) -> dict[str, Any]:
    """The body of `whisper-ops/check/1`."""
    return {
        "server": server,
        "passed": all(line.answer != "fail" for line in findings),
        "findings": [msgspec.structs.asdict(line) for line in findings],
    }
