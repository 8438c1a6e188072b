"""What a stream was, worked out of what it left behind when nothing is in a hurry any more."""

import msgspec

from capacity.loadgen.messages import StreamResult
from capacity.loadgen.recording import MeasuredWindow, Track, measure
from capacity.loadgen.stream_outcome import StreamOutcome
from capacity.loadgen.utterance_text import heard


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """A stream at one moment, in a copy that nobody changes any more; any thread may measure it."""

    number: int
    track: Track
    ending: StreamOutcome
    chunk_seconds: float
    keep_text: bool
    bytes_a_chunk: float
    gpu_id: int | None
    replica: str | None
    connection_id: str | None
    server_id: str | None
    total_gpus: int | None
    connect_seconds: float | None
    ready_seconds: float | None
    tail_seconds: float | None
    """From the end of the sound to the last text."""

    def result(self, window: MeasuredWindow, scored: MeasuredWindow) -> StreamResult:
        """Measure it.

        Args:
            window: where latencies count, and how many streams were live.
            scored: where word errors, messages and bytes count.
        """
        track, chunk, text = self.track, self.chunk_seconds, self.track.text
        found = measure(track, window, scored)
        ending = self.ending
        if ending.outcome == "done" and track.spoken and not text:
            ending = StreamOutcome("silent", "not a word came back")
        sent = [at for at in track.sent if at in scored]
        shown = [update for update in track.updates if update.at in scored]
        return StreamResult(
            number=self.number,
            outcome=ending.outcome,
            error=ending.error,
            wants_token=ending.wants_token,
            gpu_id=self.gpu_id,
            replica=self.replica,
            connection_id=self.connection_id,
            server_id=self.server_id,
            total_gpus=self.total_gpus,
            connect_seconds=self.connect_seconds,
            ready_seconds=self.ready_seconds,
            end_to_final_seconds=self.tail_seconds,
            sent_seconds=len(sent) * chunk,
            live_seconds=sum(at in window for at in track.sent) * chunk,
            speech_words=found.words_said,
            latencies=found.latencies,
            score=found.score,
            clip_errors=found.clip_errors,
            partials=sum(bool(update.tail) for update in shown),
            finals=sum(bool(update.committed) for update in shown),
            bytes_sent=round(self.bytes_a_chunk * len(sent)),
            lateness=tuple(late for at, late in zip(track.sent, track.lateness, strict=True) if at in scored),
            heard=heard(track.spoken, text) if self.keep_text else (),
            text=text if self.keep_text else None,
            reference=" ".join(word.word for word in track.spoken) if self.keep_text else None,
        )
