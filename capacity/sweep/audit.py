"""Whether a level is evidence: `valid`, `provisional` or `invalid`, with the reason.

A law may use only levels at which the streams really were live at once, the generator kept its own pace, every stream
got its text, and which lasted long enough. Where the server itself broke the level (it refused, cut, dropped text) the
figures are no evidence, and yet the answer is known: it does not carry this load.
"""

import msgspec

from capacity.sweep.figures import Counts, shares
from capacity.sweep.objective import Objective
from capacity.sweep.word_errors import Clips, hold_against
from whisper_ops.history.records import Audit, LevelFigures

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


class Verdict(msgspec.Struct, frozen=True):
    """What a level counts for, whether it met the objective (None: cannot be said), and why."""

    audit: Audit
    passed: bool | None
    reason: str


def judge(
    figures: LevelFigures,
    counts: Counts,
    objective: Objective,
    baseline: dict[str, float | None],
    seconds: float,
    *,
    lag_p95_seconds: float | None = None,
    stopped: str | None = None,
    one_stream: Clips | None = None,
) -> Verdict:
    """Audit a level and compare it with the objective.

    Args:
        figures: what was measured.
        counts: what is needed beside.
        objective: what is to be met.
        baseline: the measures of one stream, for what is relative and for missing text; empty when there is none.
        seconds: how long all streams were to be live.
        lag_p95_seconds: the server's own lag, when it says.
        one_stream: the utterances of one stream, for word errors relative to it.
        stopped: why the level was stopped early, when it was.
    """
    generator = _generator_fault(figures)
    if generator:
        return Verdict("invalid", None, generator)
    if stopped:
        # Its answer is known. The latencies of what did come would flatter it, so they are no evidence.
        return Verdict("invalid", False, stopped)
    measures = {**shares(figures, counts), "lag_p95": lag_p95_seconds}
    heard = {
        term.written: said
        for term in objective.terms
        if (said := hold_against(term, counts.clip_errors, one_stream or {})) is not None
    }
    missed = objective.missed(measures, baseline, settled=heard)
    missed += [said.missed for said in heard.values() if said.missed]
    server = _server_fault(figures, counts, measures, baseline)
    if server:
        broke = bool(figures.refused or figures.failed or missed or "never came" in server)
        return Verdict("invalid", False if broke else None, "; ".join([server, *missed]))
    short = _short(figures, seconds)
    doubts = [said.open for said in heard.values() if said.open]
    return Verdict("provisional" if short else "valid", not missed, "; ".join([*missed, *short, *doubts]))


def _generator_fault(figures: LevelFigures) -> str | None:
    if figures.late_p99_seconds is not None and figures.late_p99_seconds > LATE_SECONDS:
        return (
            f"the load generator was late itself: {figures.late_p99_seconds * 1e3:.0f} ms at p99, "
            f"{LATE_SECONDS * 1e3:.0f} ms allowed"
        )
    return None


def _server_fault(
    figures: LevelFigures, counts: Counts, measures: dict[str, float | None], baseline: dict[str, float | None]
) -> str | None:
    if figures.achieved_concurrency < CONCURRENCY_SHARE * counts.asked - _DUE:
        why = f" ({counts.first_error})" if counts.first_error else ""
        return f"only {figures.achieved_concurrency:.1f} of {counts.asked} streams were live at once{why}"
    missing = measures["missing"]
    allowed = min(MISSING_POINTS + (baseline.get("missing") or 0.0), MISSING_MOST)
    if missing is not None and missing > allowed:
        return f"{missing * 100:.0f} % of the words never came"
    if counts.speech_words and not figures.partials_per_second:
        return "the server sent no partial results, so its word latency cannot be compared"
    return None


def _short(figures: LevelFigures, seconds: float) -> list[str]:
    reasons = []
    if seconds < SHORT_SECONDS - _DUE:
        reasons.append(f"{seconds:.0f} s are short of {SHORT_SECONDS:.0f} s")
    if figures.words < FEW_WORDS:
        reasons.append(f"{figures.words} words are short of {FEW_WORDS}")
    return reasons
