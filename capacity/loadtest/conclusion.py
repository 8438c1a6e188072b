"""What a sweep has to say in the end: the bracket, why it ends there, and what to do next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from capacity.next_levels import NextLevels, TriedLevel, ends, next_levels
from whisper_ops.formatting import counted
from whisper_ops.history import LevelRecord
from whisper_ops.objective.findings import speaks_against
from whisper_ops.objective.judgement import findings_of


def bracket_in_words(low: int | None, high: int | None) -> str:
    """Between which levels the limit lies: the last that met the objective, and the first that did not."""
    if low is None and high is None:
        return "no level gave an answer"
    if low is None:
        return f"not even {counted(high, 'stream')} met the objective"
    if high is None:
        return f"{counted(low, 'stream')} met the objective, and no level failed"
    return f"the limit lies in [{low}, {high}): {low} met the objective, {high} did not"


def levels_conclusion(levels: Sequence[LevelRecord]) -> str | None:
    """The bracket of these levels, with what kept the first one from passing; None: there are none."""
    if not levels:
        return None
    tried = _tried(levels)
    low, high = ends(tried)
    failed = next((level for level in levels if level.streams == high and level.passed is False), None)
    if not tried:
        failed = levels[0]
    why = "" if failed is None else reasons_against(failed)
    short = "; the levels were short, so this is provisional" if _short(levels, low, high) else ""
    return f"{bracket_in_words(low, high)}{why}{short}"


def reasons_against(level: LevelRecord) -> str:
    """What speaks against a level, in brackets behind a space; of an older version's level, the words that it kept."""
    findings = findings_of(level)
    reasons = "; ".join(str(finding) for finding in findings if speaks_against(finding)) if findings else level.reason
    return f" ({reasons})" if reasons else ""


def next_step(
    levels: Sequence[LevelRecord], server: str, slots: int | None, history: Path, usual: Path, *, gpus: int = 1
) -> str | None:
    """The next command to type, and why; None where the sweep measured nothing.

    Args:
        levels: what was measured.
        server: as it is written on a command line.
        slots: what it takes at once; None: not known.
        history: where the levels are.
        usual: where commands look for them without being told.
        gpus: of the server.
    """
    if not levels:
        return None
    named = "" if history == usual else f" --history {shlex.quote(str(history))}"
    tried = _tried(levels)
    if not tried:
        return "stop what kept the levels from being evidence, and run the same command again"
    low, high = ends(tried)
    advice = next_levels(tried, slots, gpus)
    if low is None and (high or 0) > gpus:
        return f"whisper-ops sweep {server} --levels {_list(advice)}{named}  (levels that may pass)"
    if high is None and advice.aim == "find_failure":
        return f"whisper-ops plan{named}  (and to find the limit: whisper-ops sweep {server} --levels {_list(advice)})"
    return f"whisper-ops plan{named}"


def _list(advice: NextLevels) -> str:
    return ",".join(map(str, advice.levels))


def _tried(levels: Sequence[LevelRecord]) -> dict[int, TriedLevel]:
    """What gave an answer; a level that failed once did not pass."""
    found: dict[int, TriedLevel] = {}
    for level in levels:
        if level.passed is not None:
            before = found.get(level.streams)
            passed = level.passed and (before is None or before.passed)
            found[level.streams] = TriedLevel(passed=passed, firm=level.audit != "provisional")
    return found


def _short(levels: Sequence[LevelRecord], *of: int | None) -> bool:
    return any(level.audit == "provisional" and level.streams in of for level in levels)
