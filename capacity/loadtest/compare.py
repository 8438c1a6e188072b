"""Two sweeps side by side, with a verdict that a CI job can use."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from capacity.loadtest.level_details import clips
from capacity.loadtest.result_tables import UNLIMITED
from whisper_ops.console import PlainConsole
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.objective.judgement import is_evidence
from whisper_ops.objective.word_errors import Excess, against

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
        excess = against(clips(history, other), clips(history, one))
        found = [_change(one, other, figure, worse_by, excess) for figure in _FIGURES]
        changes += [change for change in found if change is not None]
    lost = tuple(n for n in both if levels_a[n].passed and not levels_b[n].passed)
    reasons = [f"{c.name} at {c.streams}: {_show(c.a, c.figure)} → {_show(c.b, c.figure)}" for c in changes if c.worse]
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


def table(compared: SweepComparison, width: int = UNLIMITED) -> Group:
    """The comparison for people: a row a figure, and below it what cannot be told, and the verdict.

    Args:
        compared: what to show.
        width: characters there are; with few, both sweeps share a column.
    """
    rows = _rows(compared, [f"sweep {compared.a}", f"sweep {compared.b}"], lambda one, other: [one, other])
    if PlainConsole(width=UNLIMITED).measure(rows).maximum > width:
        rows = _rows(compared, [f"{compared.a} → {compared.b}"], lambda one, other: [f"{one} → {other}"])
    limits = f"largest level that met the objective: {compared.limit_a or '—'} → {compared.limit_b or '—'}"
    return Group(rows, *map(Text, _doubts(compared)), Text(limits), Text(_verdict(compared)))


def _rows(compared: SweepComparison, heads: Sequence[str], cells: Callable[[str, str], list[str]]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("streams", "figure", *heads, ""):
        rows.add_column(column, justify="left" if column in {"figure", ""} else "right", no_wrap=True)
    for change in compared.changes:
        values = cells(_show(change.a, change.figure), _show(change.b, change.figure))
        mark = "✗ worse" if change.worse else "? open" if change.open else ""
        rows.add_row(str(change.streams), change.name, *values, mark)
    return rows


def _doubts(compared: SweepComparison) -> list[str]:
    """Each level has its own number of words; that they are few is said once."""
    sharing: dict[int | None, list[LevelChange]] = {}
    for change in compared.changes:
        if change.open:
            sharing.setdefault(change.words_enough, []).append(change)
    return [_doubt(changes, enough) for enough, changes in sharing.items()]


def _doubt(changes: Sequence[LevelChange], enough: int | None) -> str:
    words = counted(changes[0].words, "word") if len(changes) == 1 else "the words"
    return f"? {_named(changes)}: {words} are too few to tell" + (f", {enough} would" if enough else "")


def _verdict(compared: SweepComparison) -> str:
    """The numbers stand in the table."""
    if not compared.worse:
        return "✓ not worse"
    worse: dict[str, list[LevelChange]] = {}
    for change in compared.changes:
        if change.worse:
            worse.setdefault(change.figure, []).append(change)
    parts = [_named(changes) for changes in worse.values()]
    if compared.lost:
        parts.append(f"passed before, and fails: {_list([str(streams) for streams in compared.lost])} streams")
    return f"✗ worse: {'; '.join(parts)}"


def _named(changes: Sequence[LevelChange]) -> str:
    return f"{changes[0].name} at {_list([str(change.streams) for change in changes])}"


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


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


def _show(value: float, figure: str) -> str:
    return f"{value * 100:.1f} %" if figure.endswith("_ratio") else f"{value:.2f} s"


def _ids(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[-8:])) if ids else "none"
