"""The protocol of an engine, and what goes in and out of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from server.audio_formats import Samples

Choice = Callable[[Mapping[str, float]], str]
"""Given how probable each language is by a window's sound, says which to decode it in. Pure; any thread calls it."""


@dataclass(frozen=True)
class EngineRow:
    """One window to decode. `at_s` is where it begins in its stream."""

    audio: Samples
    context_s: float
    at_s: float = 0.0
    language: str | None = None
    """What to decode in; None: what the window sounds like."""
    words: bool = False
    prefix: str = ""
    """Text that the window's text begins with. An engine that can goes on from there; others hear it again."""
    stream: int | None = None
    """Whose window it is: rows of one stream that begin at one place may share what was computed of their sound."""
    choose: Choice | None = None
    """Which language to decode in, where none is given and several may be; None: the most probable."""
    known: str = ""
    """What was heard before in its first part, the prefix included."""
    new_s: float = math.inf
    """Seconds of its speech after that."""


@dataclass(frozen=True)
class TimedWord:
    """A word and its times in seconds from the start of the window."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Hypothesis:
    """What an engine heard in a window."""

    text: str
    no_speech: float = 0.0
    log_probability: float = 0.0
    """Mean over the tokens of the text."""
    words: tuple[TimedWord, ...] | None = None
    language: str | None = None
    languages: Mapping[str, float] | None = None
    """How probable each language is by the window's sound alone, where that was asked for; small ones left out."""
    repetition: float = 0.0
    """How much of the text says again what it said already, 0 to 1."""


@dataclass(frozen=True)
class EngineInfo:
    """What was loaded."""

    compute_type: str | None = None
    languages: str | None = None
    codes: tuple[str, ...] | None = None
    """Whisper's codes of the languages that a row may name; None: any."""
    mixed_contexts: bool = False
    """Whether the rows of a batch may have audio contexts of their own."""
    details: dict[str, str] = field(default_factory=dict)


class UnfitError(RuntimeError):
    """The engine cannot be loaded on this device, and trying again will not help. The message is for the user."""


class Engine(Protocol):
    """Decodes batches. `load` and `decode` block and are called from threads; `decode` from several at once."""

    def load(self) -> EngineInfo:
        """Bring the model into memory and warm it up.

        Raises:
            RuntimeError: it cannot be loaded; the message says why.
        """
        ...

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        """One hypothesis a row. Any exception fails the whole batch.

        All rows have the same `context_s`, unless `load` said `mixed_contexts`.
        """
        ...

    def memory_bytes(self, streams: int) -> float | None:
        """What the engine takes of its device for so many streams, where it can say."""
        ...

    def reserved_bytes(self) -> float | None:
        """What it holds of its device's memory in all, what it could give back included, where it can say."""
        ...


Done = Callable[[int, Hypothesis | Exception], None]
"""Told of each row, by its place in the batch, what was heard in it or why nothing was; from any thread."""


@runtime_checkable
class RowEngine(Engine, Protocol):
    """An engine whose rows end one by one, and which takes a batch while others are still in work."""

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        """Take a batch; returns when there is room for the next one. Every row is told of once, whatever happens."""
        ...


def decode_each(engine: Engine, rows: Sequence[EngineRow]) -> list[Hypothesis | Exception]:
    """Decode a batch; when it fails, each row alone, so that one bad row fails alone."""
    try:
        return list(engine.decode(rows))
    except Exception as error:  # noqa: BLE001  # whatever an engine raises is that row's fault, not the server's
        if len(rows) == 1:
            return [error]
    return [decode_each(engine, [row])[0] for row in rows]
