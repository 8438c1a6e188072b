"""A stream in the front process: its worker, the audio that it received, the messages that its client still gets.

A session outlives its socket: after an abnormal drop it is held for a while and may be resumed. It also outlives its
worker: the audio that no final covers is kept, and replayed to the next one.
"""

import logging
import secrets
from collections import deque
from collections.abc import Iterator

from server import ipc
from server.audio_formats import BYTES_PER_SAMPLE, SAMPLE_RATE
from server.sessions.audio_log import AudioLog
from server.sessions.audio_request import AudioRequest
from server.sessions.clock import now
from server.sessions.outbox import Outbox

log = logging.getLogger("whisper_ops.server")

_FINALS_KEPT = 256
"""Finals that can be sent again to a client that resumes."""
_TOLERANCE_SECONDS = 0.01
"""What a resampler may still hold of a stream: no more may two counts of its length differ."""
_OFFSET_SECONDS = 0.001
"""Clients get positions in whole milliseconds, so that an offset is no more exact."""


class Session:
    """One admitted stream. Times are seconds of the stream unless they say otherwise."""

    def __init__(
        self, number: int, connection_id: str, audio: AudioRequest, *, address: str = "", offset: int = 0
    ) -> None:
        self.number, self.connection_id, self.audio, self.address = number, connection_id, audio, address
        self.resume_token = secrets.token_urlsafe(16)
        self.gpu_id = -1
        self.began = now()
        self.last_message_at = self.began
        """When the client last sent a message: monotonic seconds."""
        self.idle_seconds = 0.0
        """How long it may send nothing; 0: for ever."""
        self.ending: ipc.Fault | None = None
        """Why the server ends it, to be sent after its last final."""
        self.ending_at = 0.0
        self.audio_log = AudioLog(BYTES_PER_SAMPLE[audio.encoding], offset)
        self.origin = offset
        self.covered_s = self.settled_s = offset / audio.sample_rate
        self.misplaced = 0
        """Positions of a worker that lie outside of what was sent. None may."""
        self.flushes: deque[int] = deque()
        """Where a client asked for a final and no worker has answered yet, in its samples."""
        self.pausing = False
        self.next_segment = 0
        self.ended = False
        self.done = False
        self.chunks = 0
        self.texts = 0
        self._partial_sample = b""
        self.outbox = Outbox()
        self.finals: deque[ipc.Final] = deque(maxlen=_FINALS_KEPT)
        self.detected_language: str | None = None
        """The language of its newest final."""
        self.end_message: ipc.Done | ipc.Fault | None = None
        """What ended it, to be sent again to a client that resumes."""

    @property
    def received_samples(self) -> int:
        """Samples received so far, at the client's rate, counted from the stream's start."""
        return self.audio_log.end

    @property
    def received_s(self) -> float:
        """Audio received so far, in seconds."""
        return self.audio_log.end / self.audio.sample_rate

    @property
    def lag_s(self) -> float:
        """The headline figure: audio received that is neither in a text nor judged silent, in seconds."""
        return self.received_s - self.covered_s

    def opening(self) -> ipc.Open:
        """The message that opens this session at a worker, at the audio not yet settled."""
        audio = self.audio
        start_s = self._settled_sample() / audio.sample_rate
        return ipc.Open(
            self.number,
            audio.sample_rate,
            audio.encoding,
            audio.language,
            audio.words,
            start_s,
            self.next_segment,
            audio.turns,
            self.detected_language,
            self.received_s - start_s,
        )

    def replay(self) -> Iterator[ipc.Message]:
        """All that a worker needs to go on: `opening`, the audio after it, and the flushes at their places."""
        yield self.opening()
        at = self._settled_sample()
        for position in self.flushes:
            yield from self._audio(at, position)
            yield ipc.Flush(self.number)
            at = max(at, position)
        yield from self._audio(at, self.audio_log.end)
        if self.ended:
            yield ipc.EndOfAudio(self.number)

    def _audio(self, begin: int, end: int) -> Iterator[ipc.AudioMessage]:
        return (ipc.AudioMessage(self.number, chunk) for chunk in self.audio_log.replay(begin, end))

    def _settled_sample(self) -> int:
        return max(self.audio_log.begin, self._sample(self.settled_s))

    def _sample(self, position_s: float) -> int:
        """The client's sample at a worker's position, which is a whole number of samples at 16 kHz."""
        return round(position_s * SAMPLE_RATE) * self.audio.sample_rate // SAMPLE_RATE

    def whole_samples(self, data: bytes) -> bytes:
        """The whole samples of a chunk, with the bytes that the one before left over; the rest waits for the next."""
        size = BYTES_PER_SAMPLE[self.audio.encoding]
        rest = (len(self._partial_sample) + len(data)) % size
        if not rest and not self._partial_sample:
            return data
        both = self._partial_sample + data
        self._partial_sample = both[len(both) - rest :]
        return both[: len(both) - rest]

    @property
    def dangling_bytes(self) -> int:
        """Bytes of a sample whose rest has not come."""
        return len(self._partial_sample)

    def append_audio(self, data: bytes) -> None:
        """Keep a chunk that goes to the worker."""
        self.audio_log.append(data)
        self.chunks += 1

    def flush(self) -> None:
        """Remember that a final was asked for here."""
        self.flushes.append(self.audio_log.end)

    def advance(self, covered_s: float, settled_s: float) -> None:
        """The worker has covered and settled so much, in seconds.

        A position beyond what was received is counted and not used: audio would be dropped for it, and a lag that is
        clamped to zero would hide it.
        """
        if max(covered_s, settled_s) > self.received_s + 1e-6:
            self._misplace(f"at {max(covered_s, settled_s):.3f} s")
            return
        self.covered_s = max(self.covered_s, covered_s)
        if settled_s > self.settled_s:
            self.settled_s = settled_s
            self.audio_log.settle(self._sample(settled_s))

    def deliver(self, message: ipc.Message) -> None:
        """Take a message of the worker and pass it on to the client."""
        match message:
            case ipc.Partial():
                self.texts += 1
                self.advance(message.covered_s, 0.0)
            case ipc.Final():
                if message.segment < self.next_segment:
                    return
                self.texts += 1
                self.next_segment = message.segment + 1
                self.finals.append(message)
                self.detected_language = message.language or self.detected_language
                self.advance(message.covered_s, message.settled_s)
            case ipc.Flushed():
                if self.flushes:
                    self.flushes.popleft()
            case ipc.Done():
                if abs(message.audio_s - self.received_s) > _TOLERANCE_SECONDS:
                    self._misplace(f"of {message.audio_s:.3f} s in all")
                message = ipc.Done(self.number, self.received_s, message.segments)
                self.done = True
                self.end_message = message = self.ending or message
        self.outbox.put(message)

    def _misplace(self, where: str) -> None:
        if not self.misplaced:
            line = "Connection %s: its worker reports %s, and %.3f s were received; this is a fault of the server"
            log.error(line, self.connection_id, where, self.received_s)
        self.misplaced += 1

    def end_after_tail(self, code: str, reason: str) -> None:
        """End it once its tail is decoded: received audio gets its text, however the stream ends."""
        self.ending, self.ending_at = ipc.Fault(self.number, code, reason), now()

    def fail(self, code: str, reason: str) -> None:
        """End it at once, with an error for the client."""
        if not self.done:
            self.done = True
            self.end_message = ipc.Fault(self.number, code, reason)
            self.outbox.put(self.end_message)

    def reattach(self, offset: int) -> None:
        """Queue for a client that resumes the finals that end after `offset` samples, and no other."""
        self.outbox.close()
        self.outbox = Outbox()
        self._partial_sample = b""  # it begins again at a whole sample
        self.last_message_at = now()
        offset_s = (offset + 0.5) / self.audio.sample_rate
        for final in self.finals:
            if final.end > offset_s + _OFFSET_SECONDS:
                self.outbox.put(final)
        if self.end_message is not None:
            self.outbox.put(self.end_message)
