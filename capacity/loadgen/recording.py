"""What a stream left behind, and its measurement over a window of time, made when nothing is in a hurry any more."""

import msgspec

from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.word_latency import TextUpdate, WordLatency, WordScore, by_clip, fates, latencies, score_of


class MeasuredWindow(msgspec.Struct, frozen=True):
    """A span of the monotonic clock, in seconds; `since` belongs to it and `until` does not."""

    since: float
    until: float

    def __contains__(self, at: float) -> bool:
        return self.since <= at < self.until


ALWAYS = MeasuredWindow(float("-inf"), float("inf"))
HAIR = 1e-6
"""Seconds by which sums of chunks may miss the time they stand for."""
MARGIN_SECONDS = 30.0
"""What a stream of a level in blocks remembers from before the block that is measured."""


class Track(msgspec.Struct):
    """What was said, sent and shown, in the order it came. A stream of many hours forgets what was measured."""

    spoken: list[SpokenWord] = []
    updates: list[TextUpdate] = []
    sent: list[float] = []
    """When each chunk went out."""
    lateness: list[float] = []
    chunks_sent: int = 0
    """In all, forgotten ones too."""

    def until(self, heard: float) -> "Track":
        """A copy that nobody changes any more, without words said after `heard`: they were never sent."""
        return Track(
            [word for word in self.spoken if word.due <= heard],
            list(self.updates),
            list(self.sent),
            list(self.lateness),
            self.chunks_sent,
        )

    def forget(self, before: float) -> None:
        """Drop what happened before that time. What was said then and is shown later becomes words too many, there."""
        self.spoken = [word for word in self.spoken if word.due >= before]
        self.updates = [update for update in self.updates if update.at >= before]
        keep = sum(at >= before for at in self.sent)
        self.sent, self.lateness = self.sent[len(self.sent) - keep :], self.lateness[len(self.lateness) - keep :]

    @property
    def text(self) -> str:
        """All that stood in the end."""
        parts = [*(update.committed for update in self.updates), *(update.tail for update in self.updates[-1:])]
        return " ".join(part for part in parts if part)


class Found(msgspec.Struct, frozen=True):
    """A stream's measures over a window."""

    latencies: tuple[WordLatency, ...]
    score: WordScore
    clip_errors: dict[str, tuple[int, int]]
    words_said: int
    """In the window, heard or not."""


def measure(track: Track, window: MeasuredWindow, scored: MeasuredWindow) -> Found:
    """Measure what was kept of a stream.

    Args:
        track: what it left behind.
        window: where latencies count.
        scored: where word errors count; a stream that is over is scored as a whole.
    """
    fate = fates(track.spoken, track.text)
    counted = [(word, what) for word, what in zip(track.spoken, fate, strict=True) if word.due in scored]
    return Found(
        tuple(word for word in latencies(track.spoken, track.updates) if word.due in window),
        score_of([what for _, what in counted]),
        by_clip(counted),
        sum(word.due in window for word in track.spoken),
    )
