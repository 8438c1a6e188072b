"""The evidence of a plan: the levels of one key, audited, with repeats of a level side by side."""

from collections.abc import Sequence

import msgspec

from capacity.plan.key import Key, key_of
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which evidence is asked for; None asks for nothing in particular."""

    server: str | None = None
    model: str | None = None
    gpu: str | None = None
    chunk_seconds: float | None = None

    def matches(self, key: Key) -> bool:
        """Whether levels of `key` may answer."""
        return (
            _within(self.server, key.server)
            and _within(self.model, key.model)
            and _within(self.gpu, key.gpu_name)
            and (self.chunk_seconds is None or abs(self.chunk_seconds - key.chunk_seconds) < 1e-9)
        )

    def __str__(self) -> str:
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return ", ".join(f"{name} {value}" for name, value in given.items())


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Every level of one key, and the names of the keys beside it."""

    key: Key
    levels: tuple[LevelRecord, ...]
    settings: str = "{}"
    other_keys: tuple[Key, ...] = ()

    @property
    def counted(self) -> tuple[LevelRecord, ...]:
        """Levels that may bracket the limit: those with an answer.

        An invalid level has one only where the server broke it; where the generator did, nobody knows.
        """
        return tuple(level for level in self.levels if level.passed is not None)

    @property
    def valid(self) -> tuple[LevelRecord, ...]:
        """Levels that may enter a law."""
        return tuple(level for level in self.levels if level.audit == "valid")

    def repeats(self) -> dict[int, list[LevelRecord]]:
        """Counted levels by their number of streams, lowest first. A valid repeat outranks provisional ones."""
        found: dict[int, list[LevelRecord]] = {}
        for level in sorted(self.counted, key=lambda level: level.streams):
            found.setdefault(level.streams, []).append(level)
        return {streams: _best(levels) for streams, levels in found.items()}


def gather(history: History, wanted: Wanted) -> Evidence:
    """The levels of the key that was measured last, among those that match.

    Raises:
        UserError: nothing was measured, or nothing that matches, or nothing that says anything (exit code 4).
    """
    by_key: dict[Key, list[LevelRecord]] = {}
    settings: dict[Key, str] = {}
    for stored in history.sweeps():
        key = key_of(stored.sweep)
        by_key.setdefault(key, []).extend(history.levels(stored.id))
        settings[key] = stored.sweep.settings
    matching = {key: levels for key, levels in by_key.items() if levels and wanted.matches(key)}
    if not matching:
        raise UserError(_nothing(history, by_key, wanted), Exit.EVIDENCE)
    key = max(matching, key=lambda key: max(level.started_at for level in matching[key]))
    others = tuple(other for other in by_key if other != key and by_key[other])
    return Evidence(key=key, levels=tuple(matching[key]), settings=settings[key], other_keys=others)


def _nothing(history: History, by_key: dict[Key, list[LevelRecord]], wanted: Wanted) -> str:
    if not any(by_key.values()):
        return (
            f"{history.path} holds no measured levels, so there is nothing to plan from; "
            "run `whisper-ops sweep URL` against the server first"
        )
    known = sorted({f"{key.server} ({key.model or 'unknown model'}, {key.device})" for key in by_key})
    return f"no level was measured with {wanted}; {history.path} holds {'; '.join(known)}"


def _best(levels: Sequence[LevelRecord]) -> list[LevelRecord]:
    valid = [level for level in levels if level.audit == "valid"]
    return valid or list(levels)


def _within(wanted: str | None, known: str | None) -> bool:
    return wanted is None or (known is not None and wanted.lower() in known.lower())
