"""Where utterances begin and end, from speech probabilities alone. Pure; positions are samples of the stream."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from server import ipc
from server.audio_formats import SAMPLE_RATE
from server.worker.silero import FRAME


@dataclass(frozen=True)
class Tuning:
    """How utterances are cut. Times in seconds."""

    speech: float = 0.5
    """A frame at or above this probability is speech."""
    silence: float = 0.35
    """A frame below this is silence; between the two nothing changes."""
    onset: float = 0.096
    """Speech that opens an utterance; clicks are shorter."""
    before: float = 0.288
    """Audio kept before the first speech: quiet consonants. Whole frames, so that a replay falls into the same grid."""
    after: float = 0.288
    """Audio kept after the last speech, in whole frames."""
    pause: float = 0.5
    """Silence that ends a short utterance."""
    short_pause: float = 0.2
    """Silence that ends an utterance of `long` seconds; between 4 s and `long` the pause shrinks in a line."""
    long: float = 12.0


def tuned(turns: ipc.TurnSettings | None) -> Tuning:
    """A client's settings over the defaults."""
    usual = Tuning()
    if turns is None:
        return usual
    speech, before, pause = turns.speech or usual.speech, usual.before, turns.pause_s
    if turns.before_s is not None:
        before = math.ceil(turns.before_s * SAMPLE_RATE / FRAME) * FRAME / SAMPLE_RATE
    return replace(
        usual,
        speech=speech,
        silence=speech * usual.silence / usual.speech,
        before=before,
        pause=pause or usual.pause,
        short_pause=pause or usual.short_pause,
    )


def pause_seconds(tuning: Tuning, length: float) -> float:
    """How long a silence ends an utterance that is `length` seconds long."""
    start = 4.0
    share = min(1.0, max(0.0, (length - start) / (tuning.long - start)))
    return tuning.pause + (tuning.short_pause - tuning.pause) * share


class Segmenter:
    """Follows one stream. `opened(start)` and `closed(end, speech_end)` are called as utterances begin and end."""

    __slots__ = ("_closed", "_first", "_floor", "_opened", "_run", "position", "speech_end", "start", "tuning")

    def __init__(
        self, origin: int, tuning: Tuning, opened: Callable[[int], None], closed: Callable[[int, int], None]
    ) -> None:
        self.tuning = tuning
        self.position = origin
        """Judged up to here."""
        self.start: int | None = None
        self.speech_end = origin
        self._floor = origin
        self._first = origin
        self._run = 0
        self._opened, self._closed = opened, closed

    def feed(self, probability: float, samples: int = FRAME) -> None:
        """Add the probability of the next samples: a frame, or the rest of the stream's last one."""
        begin = self.position
        self.position += samples
        if probability >= self.tuning.speech:
            self._speech(begin)
        elif self.start is None:
            self._run = 0
        elif probability < self.tuning.silence:
            self._silence()
        # Between the thresholds an utterance that is open neither grows nor ends.

    def _speech(self, begin: int) -> None:
        if self.start is None:
            if not self._run:
                self._first = begin
            self._run += self.position - begin
            if self._run < self.tuning.onset * SAMPLE_RATE:
                return
            self.start = max(self._floor, self._first - round(self.tuning.before * SAMPLE_RATE))
            self._opened(self.start)
        self.speech_end = self.position

    def _silence(self) -> None:
        assert self.start is not None
        length = (self.speech_end - self.start) / SAMPLE_RATE
        if self.silence_seconds >= pause_seconds(self.tuning, length):
            self.close()

    @property
    def silence_seconds(self) -> float:
        """How long it has been silent."""
        return (self.position - self.speech_end) / SAMPLE_RATE

    @property
    def quiet_from(self) -> int:
        """Everything before this is either in an utterance or judged silent."""
        return self._first if self._run and self.start is None else self.position

    @property
    def quiet(self) -> bool:
        """Whether no utterance is open and none seems to begin."""
        return self.start is None and not self._run

    def close(self) -> None:
        """End the open utterance here, if there is one."""
        if self.start is None:
            return
        end = min(self.position, self.speech_end + round(self.tuning.after * SAMPLE_RATE))
        self.start, self._run, self._floor = None, 0, end
        self._closed(end, self.speech_end)
