"""Whether a level meets an objective. The load test asks when it measured one, the plan when it judges by another."""

from collections.abc import Mapping, Sequence

import msgspec

from whisper_ops.history.records import Audit, LevelRecord
from whisper_ops.objective.findings import (
    AnyFinding,
    GeneratorLate,
    Missed,
    StoppedEarly,
    TextMissing,
    decode,
    encode,
    judged_again,
    misses,
    sentences,
)
from whisper_ops.objective.grammar import MEASURES, Objective, ObjectiveTerm
from whisper_ops.objective.word_errors import Clips, judge_word_errors

Measures = Mapping[str, float | None]
"""Name in an objective to figure, in base units; None or missing: not measured."""


class Baseline(msgspec.Struct, frozen=True):
    """What is known of one stream."""

    measures: dict[str, float | None] = {}
    clips: Clips = {}


def measures_of(level: LevelRecord) -> dict[str, float | None]:
    """Everything an objective can name. `connected` also counts streams that failed later on."""
    figures: dict[str, float | None] = {
        name: getattr(level, measure.column) for name, measure in MEASURES.items() if measure.unit == "seconds"
    }
    # An imported level does not say what became of its streams.
    counted = level.connected + level.refused + level.failed > 0
    missing, reference = level.missing_words, level.reference_words
    return {
        **figures,
        "connected": level.connected / level.streams if counted and level.streams else None,
        "errors": level.failed / max(1, level.streams - level.refused) if counted else None,
        "wer": level.wer_ratio,
        "missing": missing / reference if missing is not None and reference else None,
    }


def is_evidence(audit: Audit) -> bool:
    """Whether the figures of a level may be used at all."""
    return audit in {"valid", "provisional"}


def is_baseline(level: LevelRecord) -> bool:
    """Whether it tells what one stream gets; conditions that count from that need its text."""
    return level.streams == 1 and level.wer_ratio is not None and level.audit != "disturbed"


def missed(term: ObjectiveTerm, value: float | None, baseline: float | None) -> Missed | None:
    """Why a condition is not met; None when it is."""
    made = Missed(term.name, term.at_most, term.bound(baseline), term.written, value, term.relative)
    if value is None:
        return made
    if term.relative and baseline is None:
        return msgspec.structs.replace(made, no_baseline=True)
    return None if term.met(value, baseline or 0.0) else made


def against_objective(
    objective: Objective, measures: Measures, clips: Clips, baseline: Baseline
) -> tuple[AnyFinding, ...]:
    """What speaks against a level: conditions that are missed, then those that too few words leave open.

    Args:
        objective: what is to be met.
        measures: the figures of the level.
        clips: its word errors by utterance; empty: its word error rate is taken as it is.
        baseline: one stream, for conditions that count from it.
    """
    found: list[AnyFinding] = []
    for term in objective.terms:
        held = judge_word_errors(term, clips, baseline.clips)
        finding = (
            held.finding
            if held is not None
            else missed(term, measures.get(term.name), baseline.measures.get(term.name))
        )
        if finding is not None:
            found.append(finding)
    return tuple(sorted(found, key=lambda finding: not misses(finding)))


def passed(audit: Audit, findings: Sequence[AnyFinding], *, ended_badly: bool) -> bool | None:
    """Whether a level meets its objective; None: nobody knows.

    Where the server itself broke the level its figures are no evidence, and yet the answer is known.

    Args:
        audit: what the level counts for.
        findings: all that speaks about it.
        ended_badly: whether a stream was refused or failed.
    """
    if audit == "disturbed" or any(isinstance(finding, GeneratorLate) for finding in findings):
        return None
    if any(isinstance(finding, StoppedEarly) for finding in findings):
        return False
    failed = any(misses(finding) for finding in findings)
    if is_evidence(audit):
        return not failed
    broke = ended_badly or failed or any(isinstance(finding, TextMissing) for finding in findings)
    return False if broke else None


def judged(
    level: LevelRecord,
    audit: Audit,
    found: tuple[AnyFinding, ...],
    objective: Objective,
    clips: Clips,
    baseline: Baseline,
) -> LevelRecord:
    """The level with its verdict.

    Args:
        level: its figures.
        audit: what it counts for.
        found: what the audit found.
        objective: what it is to meet.
        clips: its word errors by utterance.
        baseline: one stream.
    """
    settled = audit == "disturbed" or any(isinstance(finding, GeneratorLate | StoppedEarly) for finding in found)
    about = () if settled else against_objective(objective, measures_of(level), clips, baseline)
    missed_first = tuple(f for f in about if misses(f))
    rest = tuple(f for f in about if not misses(f))
    # A level that the server broke says so first; of one that is only short the objective matters more.
    findings = (*found, *missed_first) if not is_evidence(audit) else (*missed_first, *found, *rest)
    answer = passed(audit, findings, ended_badly=bool(level.refused or level.failed))
    return msgspec.structs.replace(
        level, audit=audit, passed=answer, findings=encode(findings), reason=sentences(findings)
    )


def rejudged(level: LevelRecord, objective: Objective, clips: Clips, baseline: Baseline) -> LevelRecord:
    """A stored level under another objective. What its audit found stays.

    A level of an older version, which kept only words, keeps its verdict where the server or the generator broke it.
    """
    stored = findings_of(level)
    if level.audit == "invalid" and not stored:
        return level
    found = tuple(finding for finding in stored if not judged_again(finding))
    return judged(level, level.audit, found, objective, clips, baseline)


def findings_of(level: LevelRecord) -> tuple[AnyFinding, ...]:
    """What was found about a stored level; nothing where an older version kept only words."""
    return decode(level.findings)
