"""The evidence of a plan: the levels of one key, audited, with repeats of a level side by side."""

from collections.abc import Iterable, Sequence

import msgspec

from capacity.planner.key import UncountedError, key_of, key_of_polls
from capacity.planner.polls import PollEvidence, read_polls
from capacity.planner.rejudge import judged_again
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord, poll_aggregates
from whisper_ops.lenient_json import decode_strictly
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.plan_key import PlanKey


class EvidenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which evidence is asked for; None asks for nothing in particular."""

    server: str | None = None
    model: str | None = None
    gpu: str | None = None
    chunk_seconds: float | None = None
    objective: str | None = None
    """Judge by this instead of what the levels were measured for."""
    gpu_speed: float | None = None
    """Speed of `gpu` relative to the measured one, where it was not measured itself."""

    def matches(self, key: PlanKey) -> bool:
        """Whether levels of `key` may answer."""
        return (
            _within(self.server, key.server)
            and _within(self.model, key.model)
            and _within(self.gpu, key.gpu_name)
            and _near(self.chunk_seconds, key.chunk_seconds)
        )

    def __str__(self) -> str:
        asked = ("server", "model", "gpu", "chunk_seconds")
        given = {name: value for name in asked if (value := getattr(self, name)) is not None}
        return ", ".join(f"{name} {value}" for name, value in given.items())


class _Noted(msgspec.Struct):
    """What of a sweep's settings a plan needs."""

    slots: int | None = None
    address: str | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Every level of one key, and the other keys of the history."""

    key: PlanKey
    levels: tuple[LevelRecord, ...]
    settings: str = "{}"
    other_keys: tuple[PlanKey, ...] = ()
    polled: PollEvidence = PollEvidence()

    @property
    def slots(self) -> int | None:
        """The most streams that the server takes at once, as the sweep noted it or a later poll said it."""
        noted = self._noted.slots
        later = noted is None or self.polled.newest > self.newest
        slots = self.polled.slots if later and self.polled.slots is not None else noted
        return slots if slots is not None and slots > 0 else None

    @property
    def address(self) -> str:
        """Where a load test reaches the server."""
        return self._noted.address or self.key.server

    @property
    def _noted(self) -> _Noted:
        try:
            return decode_strictly(self.settings, _Noted)
        except msgspec.MsgspecError:
            return _Noted()

    @property
    def newest(self) -> float:
        """When the last level of it ended, or without levels the last poll was; UTC epoch seconds."""
        return max((level.started_at + level.duration_seconds for level in self.levels), default=self.polled.newest)

    @property
    def counted(self) -> tuple[LevelRecord, ...]:
        """Levels that may bracket the limit: those with an answer.

        An invalid level has one only where the server broke it; where the generator did, it has none.
        """
        return tuple(level for level in self.levels if level.passed is not None and not self.beyond_slots(level))

    def beyond_slots(self, level: LevelRecord) -> bool:
        """Whether the server's slots refused some of its streams: then it says nothing about the device."""
        return self.slots is not None and level.streams > self.slots and level.refused > 0 and level.passed is False

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


def gather(history: History, request: EvidenceRequest) -> Evidence:
    """The levels of the key that was measured last, among those that match; else the polls of what ran last.

    Raises:
        UserError: nothing was measured, or nothing that matches, or nothing that says anything (exit code 4).
    """
    by_key: dict[PlanKey, list[LevelRecord]] = {}
    settings: dict[PlanKey, str] = {}
    uncounted: list[tuple[float, UncountedError]] = []
    for stored in history.sweeps.every():
        found = history.sweeps.levels(stored.id)
        try:
            key = key_of(stored.sweep, found)
        except UncountedError as error:
            if request.matches(key_of(stored.sweep)):
                uncounted.append((stored.sweep.started_at, error))
            continue
        by_key.setdefault(key, []).extend(found)
        settings[key] = stored.sweep.settings
    matching = {key: levels for key, levels in by_key.items() if levels and request.matches(key)}
    newest = max((level.started_at for levels in matching.values() for level in levels), default=0.0)
    if any(at > newest for at, _ in uncounted):
        raise UserError(str(max(uncounted, key=lambda one: one[0])[1]), Exit.EVIDENCE)
    if not matching:
        return _from_polls(history, by_key, request)
    key = max(matching, key=lambda key: max(level.started_at for level in matching[key]))
    others = tuple(other for other in by_key if other != key and by_key[other])
    levels, polled = tuple(matching[key]), read_polls(history, key)
    if request.objective is not None:
        levels = judged_again(history, levels, request.objective)
    objective = None if request.objective is None else _canonical(request.objective)
    judged_by = msgspec.structs.replace(key, objective=objective or key.objective)
    return Evidence(key=judged_by, levels=levels, settings=settings[key], other_keys=others, polled=polled)


def _from_polls(history: History, by_key: dict[PlanKey, list[LevelRecord]], request: EvidenceRequest) -> Evidence:
    """What ordinary production says where no level was measured."""
    every: list[PlanKey] = []
    objective = _canonical(request.objective or DEFAULT)
    for ran in reversed(poll_aggregates.runs(history)):
        key = key_of_polls(ran.server, ran.identity, poll_aggregates.gpus(history, ran.server_id), objective)
        if key not in every:
            every.append(key)
    found = [key for key in every if request.matches(key)]
    polled = read_polls(history, found[0]) if found else PollEvidence()
    if polled.peak <= 0:
        measured = [key for key, levels in by_key.items() if levels]
        raise UserError(_nothing(history, [*measured, *every], request), Exit.EVIDENCE)
    return Evidence(key=found[0], levels=(), other_keys=tuple(found[1:]), polled=polled)


def _nothing(history: History, known: Iterable[PlanKey], request: EvidenceRequest) -> str:
    names = sorted({f"{key.server} ({key.model or 'unknown model'}, {key.device})" for key in known})
    if not names or not str(request):
        return (
            f"{history.path} holds no measured levels, so there is nothing to plan from; "
            "run `whisper-ops sweep URL` against the server first"
        )
    return f"no level was measured with {request}; {history.path} holds {'; '.join(names)}"


def _canonical(objective: str) -> str:
    """As the history keeps it, however it was written."""
    return parse(objective).canonical


def _best(levels: Sequence[LevelRecord]) -> list[LevelRecord]:
    valid = [level for level in levels if level.audit == "valid"]
    return valid or list(levels)


def _within(asked: str | None, known: str | None) -> bool:
    return asked is None or (known is not None and asked.lower() in known.lower())


def _near(asked: float | None, known: float | None) -> bool:
    return asked is None or (known is not None and abs(asked - known) < 1e-9)
