"""A stream's sound: what came of it, whether somebody speaks in it, and where utterances begin and end.

Positions are samples at 16 kHz from the stream's start.
"""

from collections.abc import Callable, Sequence

import numpy as np

from server import ipc
from server.audio_formats import SAMPLE_RATE, AudioDecoder, Samples
from server.worker.audio_buffer import AudioBuffer
from server.worker.segmenter import Segmenter, Tuning
from server.worker.silero import FRAME
from server.worker.vad import QUIET_STEP, STEP, Vad, VoiceActivity

_MOMENT = SAMPLE_RATE // 50
_NEAR = 6 * _MOMENT
"""Samples to both sides of a word's beginning, whole moments, in which its quietest one is looked for."""


class StreamAudio:
    """Of one stream. `opened(start)` and `closed(end, speech_end)` are called as utterances begin and end."""

    def __init__(
        self,
        coming: ipc.Open,
        vad: Vad,
        tuning: Tuning,
        opened: Callable[[int], None],
        closed: Callable[[int, int], None],
    ) -> None:
        # Rounded down, as every position is: what begins with a part of a sample has not got that sample.
        self.origin = int(coming.start_s * SAMPLE_RATE + 1e-6)
        self._decoder = AudioDecoder(coming.encoding, coming.sample_rate)
        self._line = AudioBuffer(self.origin)
        self.vad, self._voice = vad, VoiceActivity()
        self.segmenter = Segmenter(self.origin, tuning, opened, closed)

    def take(self, data: bytes) -> float:
        """Take audio as the client sent it. Answers how many seconds it lasts."""
        samples = self._decoder(data)
        self._line.append(samples)
        return len(samples) / SAMPLE_RATE

    def take_rest(self) -> None:
        """No more comes: take what the decoder still holds."""
        self._line.append(self._decoder.rest())

    def unheard(self) -> Samples | None:
        """What is to be judged next, by `vad`, and then heard; None: more has to come first."""
        begin = self.segmenter.position
        end = begin + (QUIET_STEP if self.segmenter.quiet else STEP)
        return self._line.slice(begin, end) if end <= self._line.end else None

    def hear(self, probabilities: Sequence[float]) -> None:
        """How probable it is that somebody speaks, frame by frame of what was `unheard`."""
        for probability in probabilities:
            self._hear(probability)

    def judge_rest(self, *, last: bool) -> None:
        """Judge the last samples too, which are no whole step.

        What is no whole frame either is judged where it matters: at the stream's end, or in an utterance that ends
        here. Zeros fill the frame for the model only; the line and every position count what was sent.
        """
        line, segmenter = self._line, self.segmenter
        whole = (line.end - segmenter.position) // FRAME * FRAME
        self.hear(self.vad(line.slice(segmenter.position, segmenter.position + whole)))
        rest = line.end - segmenter.position
        if rest and (last or segmenter.start is not None):
            view = np.zeros(FRAME, np.float32)
            view[:rest] = line.slice(segmenter.position, line.end)
            self._hear(self.vad(view)[0], rest)

    def _hear(self, probability: float, samples: int = FRAME) -> None:
        self._voice.add(self.segmenter.position + samples, probability)
        self.segmenter.feed(probability, samples)

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self._line.end

    def slice(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` to `end`, as far as they are held."""
        return self._line.slice(start, end)

    def voice(self, start: int, end: int) -> float:
        """The mean probability that somebody spoke between two positions."""
        return self._voice.mean(start, end)

    def drop(self, position: int) -> None:
        """Forget everything before `position`."""
        self._line.drop(position)
        self._voice.drop(position)

    def quiet_near(self, position: int) -> int:
        """The quietest moment close to where a word begins: an alignment is right to a tenth of a second."""
        begin = position - _NEAR
        sound = self._line.slice(begin, position + _NEAR)
        if len(sound) < 2 * _NEAR:
            return position
        return begin + (int(np.argmin(np.abs(sound).reshape(-1, _MOMENT).max(axis=1))) * 2 + 1) * _MOMENT // 2
