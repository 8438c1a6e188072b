"""Somebody who is told how a sweep goes: a person's terminal, a caption, a test."""

from typing import Protocol

from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.level_request import LevelRequest
from whisper_ops.history import LevelRecord
from whisper_ops.snapshot import Snapshot


class SweepObserver(Protocol):
    """What is told, in the order in which it happens."""

    def expect(self, seconds: float) -> None:
        """How long the sweep goes on from now, about; told again whenever that is known better."""

    def begin(self, ask: LevelRequest, number: int, left: int | None, seconds: float) -> None:
        """A level begins; it will take about `seconds`. `left` counts it and what may follow."""

    def pause(self, what: str, at_most_seconds: float) -> None:
        """Between levels something is done that is not measured."""

    def progress(self, progress: LoadProgress, snapshot: Snapshot | None) -> None:
        """About once a second."""

    def end(self, level: LevelRecord) -> None:
        """A level was judged and stored, or found in the history."""

    def note(self, sentence: str) -> None:
        """Something that the person who waits should know."""
