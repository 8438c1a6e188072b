"""Whether a level is evidence: `valid`, `provisional`, `invalid` or `disturbed`, with what was found.

A law may use only levels at which the streams really were live at once, the generator kept its own pace, every stream
got its text, and which lasted long enough. Where the server itself broke the level (it refused, cut, dropped text) the
figures are no evidence, and yet the answer is known: it does not carry this load.
"""

import msgspec

from capacity.loadtest.aggregate import StreamCounts
from whisper_ops.history import LevelFigures
from whisper_ops.history.records import Audit
from whisper_ops.objective.findings import (
    AnyFinding,
    FewWords,
    GeneratorLate,
    NoPartials,
    NotLive,
    OtherLoad,
    StoppedEarly,
    TextMissing,
    TooShort,
)

LATE_SECONDS = 0.05
"""The generator's own p99 lateness beyond which a level says nothing about the server."""
CONCURRENCY_SHARE = 0.95
SHORT_SECONDS = 60.0
FEW_WORDS = 200
MISSING_POINTS = 0.05
"""Share of words missing beyond that of one stream at which text counts as dropped."""
MISSING_MOST = 0.15
"""The same, however much one stream misses: a server may drop text from the first stream on."""
_DUE = 1e-6


class Audited(msgspec.Struct, frozen=True):
    """What a level counts for, and why."""

    audit: Audit
    findings: tuple[AnyFinding, ...] = ()


def audit(
    figures: LevelFigures,
    counts: StreamCounts,
    seconds: float,
    missing_alone: float | None,
    stopped: StoppedEarly | None = None,
    other: OtherLoad | None = None,
) -> Audited:
    """Audit a level.

    Args:
        figures: what was measured.
        counts: what is needed beside.
        seconds: how long all streams were to be live.
        missing_alone: the share of words that one stream misses; None where that is not known.
        stopped: why the level was stopped early, when it was.
        other: that other programs took much of the machine.
    """
    late = figures.late_p99_seconds
    if late is not None and late > LATE_SECONDS:
        return Audited("invalid", (GeneratorLate(late, LATE_SECONDS),))
    if other is not None and not other.counts:
        # A pass is as little evidence as a miss: nobody knows what the server would do with the machine to itself.
        return Audited("disturbed", (other,))
    if stopped is not None:
        # Its answer is known. The latencies of what did come would flatter it, so they are no evidence.
        return Audited("invalid", (stopped,))
    fault = _server_fault(figures, counts, missing_alone or 0.0)
    if fault is not None:
        return Audited("invalid", (fault,))
    short: list[AnyFinding] = [] if other is None else [other]
    if seconds < SHORT_SECONDS - _DUE:
        short.append(TooShort(seconds, SHORT_SECONDS))
    if figures.words < FEW_WORDS:
        short.append(FewWords(figures.words, FEW_WORDS))
    return Audited("provisional" if any(f is not other for f in short) else "valid", tuple(short))


def _server_fault(figures: LevelFigures, counts: StreamCounts, missing_alone: float) -> AnyFinding | None:
    if figures.achieved_concurrency < CONCURRENCY_SHARE * counts.asked - _DUE:
        return NotLive(figures.achieved_concurrency, counts.asked, counts.first_error)
    missing, reference = figures.missing_words, figures.reference_words
    if missing is not None and reference:
        share = missing / reference
        if share > min(MISSING_POINTS + missing_alone, MISSING_MOST):
            return TextMissing(share)
    if counts.speech_words and not figures.partials_per_second:
        return NoPartials()
    return None
