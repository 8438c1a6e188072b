"""What was recorded of a stream while it ran, and its measurement over a window of time when nothing is in a hurry."""

import msgspec

from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.messages import StreamResult
from capacity.loadgen.utterance_text import utterance_texts
from capacity.loadgen.word_latency import TextUpdate, align_words, errors_by_clip, total_score, word_latencies


class MeasuredWindow(msgspec.Struct, frozen=True):
    """A span of the monotonic clock, in seconds; `since` belongs to it and `until` does not."""

    since: float
    until: float

    def __contains__(self, at: float) -> bool:
        return self.since <= at < self.until


ALWAYS = MeasuredWindow(float("-inf"), float("inf"))
EPSILON_SECONDS = 1e-6
"""By which sums of chunks may miss the time they stand for."""
MARGIN_SECONDS = 30.0
"""What a stream of a level in blocks remembers from before the block that is measured."""


class StreamRecording(msgspec.Struct):
    """What was said, sent and shown, in the order it came. A stream of many hours forgets what was measured."""

    chunk_seconds: float = 0.1
    spoken: list[SpokenWord] = []
    updates: list[TextUpdate] = []
    sent: list[float] = []
    """When each chunk went out."""
    lateness: list[float] = []
    chunks_sent: int = 0
    """In all, forgotten ones too."""
    bytes_sent: int = 0
    """The same."""

    def until(self, at: float) -> "StreamRecording":
        """A copy that nobody changes any more, without words said after `at`: they were never sent."""
        return msgspec.structs.replace(
            self,
            spoken=[word for word in self.spoken if word.due <= at],
            updates=list(self.updates),
            sent=list(self.sent),
            lateness=list(self.lateness),
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


def measure(
    stream: StreamResult,
    recording: StreamRecording,
    window: MeasuredWindow,
    scored: MeasuredWindow,
    *,
    keep_text: bool = False,
) -> StreamResult:
    """`stream` with everything that its recording says; any thread may do it.

    Args:
        stream: how it connected and ended.
        recording: a copy that nobody changes any more.
        window: where latencies count, and how many streams were live.
        scored: where word errors, messages and bytes count; a stream that is over is scored as a whole.
        keep_text: whether to keep the texts.
    """
    text, spoken = recording.text, recording.spoken
    if stream.outcome == "done" and spoken and not text:
        stream = msgspec.structs.replace(stream, outcome="silent", error="not a word came back")
    alignments = zip(spoken, align_words(spoken, text), strict=True)
    counted = [(word, alignment) for word, alignment in alignments if word.due in scored]
    chunks = sum(at in scored for at in recording.sent)
    shown = [update for update in recording.updates if update.at in scored]
    lateness = zip(recording.sent, recording.lateness, strict=True)
    return msgspec.structs.replace(
        stream,
        sent_seconds=chunks * recording.chunk_seconds,
        live_seconds=sum(at in window for at in recording.sent) * recording.chunk_seconds,
        speech_words=sum(word.due in window for word in spoken),
        latencies=tuple(word for word in word_latencies(spoken, recording.updates) if word.due in window),
        score=total_score([alignment for _, alignment in counted]),
        clip_errors=errors_by_clip(counted),
        partials=sum(bool(update.tail) for update in shown),
        finals=sum(bool(update.committed) for update in shown),
        bytes_sent=round(recording.bytes_sent / max(1, recording.chunks_sent) * chunks),
        lateness=tuple(late for at, late in lateness if at in scored),
        utterances=utterance_texts(spoken, text) if keep_text else (),
        text=text if keep_text else None,
        reference=" ".join(word.word for word in spoken) if keep_text else None,
    )
