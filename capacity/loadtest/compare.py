"""Two sweeps side by side, with a verdict that a CI job can use."""

from collections.abc import Sequence
from typing import Any

import msgspec

from capacity.loadtest.level_details import clips
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.objective.judgement import is_evidence
from whisper_ops.objective.word_errors import Excess, paired_excess

_FIGURES = ("first_p95_seconds", "stable_p95_seconds", "end_to_final_p95_seconds", "wer_ratio")
_NOISE = {"wer_ratio": 0.015}
_NOISE_SECONDS = 0.05
"""Differences below are never called worse: the clock of a chunk and the luck of a minute."""
_CADENCE = 0.25
"""A server that shows fewer partials looks faster on other counts; beyond this share they cannot be compared."""


class LevelChange(msgspec.Struct, frozen=True):
    """One figure of one level in both sweeps."""

    streams: int
    figure: str
    a: float
    b: float
    worse: bool
    words: int | None = None
    """It looks worse, and these are too few words to tell; None: it can be told."""
    words_enough: int | None = None
    """About how many would tell; None: more than anybody would play."""

    @property
    def open(self) -> bool:
        """Whether it cannot be told that it is worse, though it looks like it."""
        return self.words is not None

    @property
    def name(self) -> str:
        """The figure without its unit."""
        return self.figure.removesuffix("_seconds").removesuffix("_ratio")


class SweepComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, with everything it rests on."""

    a: int
    b: int
    changes: tuple[LevelChange, ...]
    limit_a: int | None
    limit_b: int | None
    reasons: tuple[str, ...]
    """Why B is worse; empty: it is not."""
    lost: tuple[int, ...] = ()
    """Levels that met the objective in A and miss it in B; `reasons` has them too."""

    @property
    def worse(self) -> bool:
        """Whether B is worse than A."""
        return bool(self.reasons)

    def body(self) -> dict[str, Any]:
        """For `--json`."""
        return {**msgspec.structs.asdict(self), "worse": self.worse}


def compare(history: History, a: int, b: int, worse_by: float) -> SweepComparison:
    """Compare sweep `b` with sweep `a`.

    Args:
        history: where both are stored.
        a: the id of the one to compare with.
        b: the id of the one in question.
        worse_by: by which share a figure must be larger to be worse.

    Raises:
        UserError: there is no such sweep (exit 2), or the two are not comparable (exit 4).
    """
    sweeps = {stored.id: stored.sweep for stored in history.sweeps.every()}
    for number in (a, b):
        if number not in sweeps:
            raise UserError(f"there is no sweep {number} in {history.path}; there are {_ids(list(sweeps))}")
    _check_comparable(sweeps[a], sweeps[b])
    levels_a, levels_b = _best(history.sweeps.levels(a)), _best(history.sweeps.levels(b))
    both = sorted(set(levels_a) & set(levels_b))
    if not both:
        raise UserError(f"sweeps {a} and {b} have no usable level in common", Exit.EVIDENCE)
    changes = []
    for streams in both:
        one, other = levels_a[streams], levels_b[streams]
        _check_cadence(one, other)
        excess = paired_excess(clips(history, other), clips(history, one))
        found = [_change(one, other, figure, worse_by, excess) for figure in _FIGURES]
        changes += [change for change in found if change is not None]
    lost = tuple(n for n in both if levels_a[n].passed and not levels_b[n].passed)
    reasons = [
        f"{c.name} at {c.streams}: {figure_text(c.a, c.figure)} → {figure_text(c.b, c.figure)}"
        for c in changes
        if c.worse
    ]
    reasons += [f"{counted(n, 'stream')} passed before, and fail" for n in lost]
    return SweepComparison(
        a=a,
        b=b,
        changes=tuple(changes),
        limit_a=_limit(levels_a),
        limit_b=_limit(levels_b),
        reasons=tuple(reasons),
        lost=lost,
    )


def _check_comparable(a: SweepRecord, b: SweepRecord) -> None:
    for name in ("corpus", "chunk_seconds", "duty_cycle", "arrivals"):
        if getattr(a, name) != getattr(b, name):
            raise UserError(
                f"the sweeps are not comparable: {name} is {getattr(a, name)} in one, {getattr(b, name)} in the other",
                Exit.EVIDENCE,
            )


def _check_cadence(a: LevelRecord, b: LevelRecord) -> None:
    one, other = a.partials_per_second, b.partials_per_second
    if one and other and abs(one - other) > _CADENCE * max(one, other):
        raise UserError(
            f"the sweeps are not comparable: at {counted(a.streams, 'stream')} one shows {one:.1f} partial results a "
            f"second and the other {other:.1f}; latencies count only at equal cadence",
            Exit.EVIDENCE,
        )


def _best(levels: Sequence[LevelRecord]) -> dict[int, LevelRecord]:
    """The longest usable measurement of each level."""
    found: dict[int, LevelRecord] = {}
    for level in levels:
        known = found.get(level.streams)
        if level.passed is not None and (known is None or level.duration_seconds >= known.duration_seconds):
            found[level.streams] = level
    return found


def _limit(levels: dict[int, LevelRecord]) -> int | None:
    failing = min((n for n, level in levels.items() if not level.passed), default=None)
    return max((n for n, level in levels.items() if level.passed and (failing is None or n < failing)), default=None)


def _change(a: LevelRecord, b: LevelRecord, figure: str, worse_by: float, excess: Excess | None) -> LevelChange | None:
    one, other = getattr(a, figure), getattr(b, figure)
    if one is None or other is None or not (is_evidence(a.audit) and is_evidence(b.audit)):
        return None
    margin = max(worse_by * one, _NOISE.get(figure, _NOISE_SECONDS))
    if figure != "wer_ratio" or excess is None:
        return LevelChange(a.streams, figure, one, other, other > one + margin)
    answer = excess.beyond(margin)
    if answer == "open":
        return LevelChange(a.streams, figure, one, other, False, sum(excess.words), excess.words_to_tell(margin))
    return LevelChange(a.streams, figure, one, other, answer == "yes")


def figure_text(value: float, figure: str) -> str:
    """A value of a `LevelChange` with the unit that the figure's name ends with."""
    return f"{value * 100:.1f} %" if figure.endswith("_ratio") else f"{value:.2f} s"


def _ids(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[-8:])) if ids else "none"
