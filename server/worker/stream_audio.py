"""A stream's audio: its samples, its voice activity, and where utterances begin and end.

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
"""Samples to both sides of a word's begin that are searched for the quietest moment; whole moments."""


class StreamAudio:
    """Of one stream. `opened(start)` and `closed(end, speech_end)` are called as utterances begin and end."""

    def __init__(
        self,
        message: ipc.Open,
        vad: Vad,
        tuning: Tuning,
        opened: Callable[[int], None],
        closed: Callable[[int, int], None],
    ) -> None:
        # Rounded down, as every position is: a partial sample does not count.
        self.origin = int(message.start_s * SAMPLE_RATE + 1e-6)
        self._decoder = AudioDecoder(message.encoding, message.sample_rate)
        self._buffer = AudioBuffer(self.origin)
        self.vad, self._voice = vad, VoiceActivity()
        self.segmenter = Segmenter(self.origin, tuning, opened, closed)

    def take(self, data: bytes) -> float:
        """Append audio as the client sent it; returns its seconds."""
        samples = self._decoder(data)
        self._buffer.append(samples)
        return len(samples) / SAMPLE_RATE

    def take_rest(self) -> None:
        """At the end: append the decoder's remaining samples."""
        self._buffer.append(self._decoder.rest())

    def next_samples(self) -> Samples | None:
        """The next samples for `vad`; None until there are enough for a step."""
        begin = self.segmenter.position
        end = begin + (QUIET_STEP if self.segmenter.quiet else STEP)
        return self._buffer.slice(begin, end) if end <= self._buffer.end else None

    def add_probabilities(self, probabilities: Sequence[float]) -> None:
        """The speech probabilities of the frames of `next_samples`."""
        for probability in probabilities:
            self._add_probability(probability)

    def judge_rest(self, *, last: bool) -> None:
        """Judge the samples after the last whole step.

        A partial frame is judged at the stream's end and in an open utterance only. It is padded with zeros for the
        model; the buffer and all positions count the samples that were sent.
        """
        buffer, segmenter = self._buffer, self.segmenter
        whole = (buffer.end - segmenter.position) // FRAME * FRAME
        self.add_probabilities(self.vad(buffer.slice(segmenter.position, segmenter.position + whole)))
        rest = buffer.end - segmenter.position
        if rest and (last or segmenter.start is not None):
            view = np.zeros(FRAME, np.float32)
            view[:rest] = buffer.slice(segmenter.position, buffer.end)
            self._add_probability(self.vad(view)[0], rest)

    def _add_probability(self, probability: float, samples: int = FRAME) -> None:
        self._voice.add(self.segmenter.position + samples, probability)
        self.segmenter.feed(probability, samples)

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self._buffer.end

    def slice(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` to `end`, as far as they are held."""
        return self._buffer.slice(start, end)

    def voice(self, start: int, end: int) -> float:
        """The mean speech probability between two positions."""
        return self._voice.mean(start, end)

    def drop(self, position: int) -> None:
        """Forget everything before `position`."""
        self._buffer.drop(position)
        self._voice.drop(position)

    def quiet_near(self, position: int) -> int:
        """The quietest moment near a word's begin, since an alignment is accurate to about 0.1 s."""
        begin = position - _NEAR
        sound = self._buffer.slice(begin, position + _NEAR)
        if len(sound) < 2 * _NEAR:
            return position
        return begin + (int(np.argmin(np.abs(sound).reshape(-1, _MOMENT).max(axis=1))) * 2 + 1) * _MOMENT // 2
