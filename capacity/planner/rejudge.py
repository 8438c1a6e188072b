"""What if: measured levels under another objective than they were measured for."""

from collections.abc import Sequence

from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord
from whisper_ops.objective import Objective, parse
from whisper_ops.objective.judgement import Baseline, is_baseline, measures_of, rejudged
from whisper_ops.objective.word_errors import Clips


def judged_again(history: History, levels: Sequence[LevelRecord], text: str) -> tuple[LevelRecord, ...]:
    """Stored levels of one key with the verdict that a sweep with this objective would have given.

    Each is held against the one stream of its own sweep, else of another sweep of the key.

    Raises:
        UserError: the objective cannot be read (exit 2), or names what no level measured (exit 4).
    """
    objective = parse(text)
    answerable(objective, levels)
    clips = {_place(level): _clips(history, level) for level in levels}
    known: dict[int, Baseline] = {}
    for level in levels:
        if is_baseline(level):
            known.setdefault(level.sweep_id, Baseline(measures_of(level), clips[_place(level)]))
    other = next(iter(known.values()), Baseline())
    return tuple(rejudged(level, objective, clips[_place(level)], known.get(level.sweep_id, other)) for level in levels)


def answerable(objective: Objective, levels: Sequence[LevelRecord]) -> None:
    """Raise where a condition is about what not one level measured (exit 4)."""
    measured = [measures_of(level) for level in levels]
    for term in objective.terms:
        if all(figures.get(term.name) is None for figures in measured):
            raise UserError(
                f"no level measured {term.name}, so the objective {str(objective)!r} cannot be judged", Exit.EVIDENCE
            )


def _place(level: LevelRecord) -> tuple[int, int, int]:
    return level.sweep_id, level.streams, level.repeat


def _clips(history: History, level: LevelRecord) -> Clips:
    return {one.clip: (one.errors, one.words) for one in history.sweeps.utterances(*_place(level))}
