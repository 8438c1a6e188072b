"""What a worker tells of one stream: its texts as messages, numbered, and the flushes that they answer. Pure."""

from collections import deque

from server import ipc
from server.audio_formats import SAMPLE_RATE
from server.engines.engine import Hypothesis
from server.worker.utterance import Utterance


class Transcript:
    """Messages leave through `events`, which the worker empties. Places are seconds of the stream."""

    def __init__(self, stream: int, segment: int, *, words: bool) -> None:
        self.stream, self._words = stream, words
        self.events: list[ipc.Message] = []
        self._segment = segment
        """The number of the next utterance that begins."""
        self._flushes: deque[int] = deque()
        """The first segment after each flush that is not answered yet."""

    def begin(self) -> int:
        """The number of an utterance that begins."""
        self._segment += 1
        return self._segment - 1

    def renumber(self, by: int) -> None:
        """What follows has other numbers: they are of texts, so that whoever plays the audio again counts the same."""
        self._segment += by
        self._flushes = deque(mark + by for mark in self._flushes)

    def flush(self) -> None:
        """Tell when every utterance that has begun has its text."""
        self._flushes.append(self._segment)

    def answer_flushes(self, first: int | None) -> None:
        """`first` is the earliest utterance that has no text yet; None: there is none."""
        reached = self._segment if first is None else first
        while self._flushes and self._flushes[0] <= reached:
            self._flushes.popleft()
            self.events.append(ipc.Flushed(self.stream))

    def partial(self, utterance: Utterance, end: int, covered_s: float) -> None:
        """An utterance as it stands, up to a sample."""
        span = utterance.start / SAMPLE_RATE, max(utterance.start, end) / SAMPLE_RATE
        text, stable = " ".join(utterance.words), len(" ".join(utterance.stable))
        utterance.shown = bool(text)
        self.events.append(ipc.Partial(self.stream, utterance.segment, text, stable, *span, covered_s))

    def final(self, utterance: Utterance, count: int, end: int, places: tuple[float, float], now: float) -> None:
        """The first words of an utterance, up to a sample; `places`: what is covered, and what is settled."""
        end_s = end / SAMPLE_RATE
        self.events.append(
            ipc.Final(
                self.stream,
                utterance.segment,
                utterance.told(count),
                utterance.start / SAMPLE_RATE,
                end_s,
                *places,
                max(0.0, now - utterance.closed_at) if utterance.end is not None else 0.0,
                # An engine hears more than the audio: what fills its window, too.
                [ipc.Word(w.word, w.start, w.end, w.probability) for w in utterance.spoken(count, end_s)]
                if self._words
                else None,
                *_language(utterance.heard),
            )
        )

    def undecoded(self, utterance: Utterance, end: int) -> None:
        """An utterance, up to a sample, has no text, as the engine failed on it."""
        span = utterance.start / SAMPLE_RATE, end / SAMPLE_RATE
        self.events.append(ipc.Undecoded(self.stream, utterance.segment, *span))

    def done(self, end_s: float) -> None:
        """Nothing more comes."""
        self.events.append(ipc.Done(self.stream, end_s, self._segment))


def _language(hypothesis: Hypothesis | None) -> tuple[str | None, float | None]:
    """What a text is in, and how probable that is, where its window was listened to for that."""
    if hypothesis is None:
        return None, None
    return hypothesis.language, (hypothesis.languages or {}).get(hypothesis.language or "")
