"""Messages between the front process and a worker, and how they travel.

Frames (`whisper_ops.framing`) over a Unix socket pair, each one MessagePack document, a tagged struct. Sending never
blocks and never pickles: messages gather for a few milliseconds and leave in one write, so that 400 streams cost a few
hundred system calls a second and not thousands.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from whisper_ops.framing import Frames, frame

FLUSH_SECONDS = 0.004


class Message(msgspec.Struct, tag_field="t", array_like=True, gc=False):
    """Anything that crosses."""


class Start(Message, tag=1):
    """The first message to a worker: what to load. `law` is the simulated engine's, as a dictionary."""

    engine: str
    device: str
    model_path: str | None
    compute_type: str
    max_batch: int
    lanes: int
    threads: int
    min_context_s: float
    law: dict[str, float]
    vad: str = "silero"
    """Or "level": loudness alone, where nobody really speaks."""
    cadence_s: float = 0.5
    """A stream's text is renewed this often when the engine keeps up."""


class TurnSettings(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a client wants its utterances cut; None: where the server does. Times in seconds."""

    speech: float | None = None
    """The probability that counts as speech."""
    before_s: float | None = None
    """Audio kept before the first speech."""
    pause_s: float | None = None
    """Silence that ends an utterance, however long that is."""


class Open(Message, tag=2):
    """A stream begins, or goes on after `start_s` seconds of audio already settled elsewhere."""

    stream: int
    sample_rate: int
    encoding: str
    language: str | None
    words: bool
    start_s: float
    segment: int
    turns: TurnSettings | None = None
    detected_language: str | None = None
    """The language that another worker detected, where its client named none."""
    replayed_s: float = 0.0
    """Audio that follows at once because it came before: it is late already."""


class AudioMessage(Message, tag=3):
    """Audio as the client sent it."""

    stream: int
    data: bytes


class Flush(Message, tag=4):
    """Make a final of what was spoken so far."""

    stream: int


class EndOfAudio(Message, tag=5):
    """No more audio will come: decode the tail, then say Done."""

    stream: int


class Close(Message, tag=6):
    """Forget the stream."""

    stream: int


class Language(Message, tag=7):
    """From its next text on a stream is in this language; None: in what it sounds like."""

    stream: int
    language: str | None


class Loaded(Message, tag=20):
    """The model is in memory and warm."""

    compute_type: str | None
    load_s: float
    max_batch: int
    languages: str | None
    codes: tuple[str, ...] | None = None
    """The languages that a stream may name; None: any."""
    memory: str | None = None
    """What it takes of its device's memory and for what, as a sentence."""


class Broken(Message, tag=21):
    """The worker cannot go on; it ends after this. `unfit`: and another one would fare no better."""

    reason: str
    unfit: bool = False


class Word(msgspec.Struct, gc=False):
    """A word with its times in seconds of the stream."""

    word: str
    start: float
    end: float
    probability: float


class Partial(Message, tag=22):
    """Text that may still change after `stable_chars`; audio up to `covered_s` is in it."""

    stream: int
    segment: int
    text: str
    stable_chars: int
    start: float
    end: float
    covered_s: float


class Final(Message, tag=23):
    """Text that never changes. Audio before `settled_s` is needed no more; `delay_s`: from the end of speech to now."""

    stream: int
    segment: int
    text: str
    start: float
    end: float
    covered_s: float
    settled_s: float
    delay_s: float
    words: list[Word] | None = None
    language: str | None = None
    """What it was decoded in."""
    language_probability: float | None = None
    """How probable that is by its sound, where its client named none."""


class StreamProgress(Message, tag=24):
    """For each stream that moved on without text: (stream, covered_s, settled_s)."""

    rows: list[tuple[int, float, float]]


class Done(Message, tag=25):
    """The tail is decoded and every final was sent."""

    stream: int
    audio_s: float
    segments: int


class Flushed(Message, tag=28):
    """Everything spoken before a Flush is final now."""

    stream: int


class Fault(Message, tag=26):
    """A stream cannot go on; the worker has forgotten it."""

    stream: int
    code: str
    reason: str


class Heartbeat(Message, tag=27):
    """Sent each second: the worker is alive, and this is what it did since the last one."""

    decoding_s: float
    """How long the oldest running decode has been running; 0 with none."""
    busy_s: float
    span_s: float
    batches: int
    rows: int
    audio_s: float
    partials: int
    speaking: int
    waits: list[float]
    computes: list[float]
    memory_bytes: float | None = None
    failed_rows: int = 0
    reserved_bytes: float | None = None
    withheld: int = 0
    """Utterances whose text was judged to be made of no speech, and not sent."""


class Undecoded(Message, tag=29):
    """Speech that the engine failed to decode, twice: the partials that were sent before, if any, are all its text."""

    stream: int
    segment: int
    start: float
    end: float


def undecoded_sentence(span: Undecoded) -> str:
    """The message to a client, whatever its protocol."""
    return f"the speech from {span.start:.2f} to {span.end:.2f} s could not be decoded; its text may be missing"


class DrainNotice(Message, tag=40):
    """Only within the front process: this server ends in `deadline_s`; go elsewhere."""

    deadline_s: float
    reconnect_url: str | None = None


ToWorker = Start | Open | AudioMessage | Flush | EndOfAudio | Close | Language
ToFront = Loaded | Broken | Partial | Final | StreamProgress | Flushed | Done | Fault | Undecoded | Heartbeat


class Channel(asyncio.Protocol):
    """One end of the pair. `on_message` gets each message; `on_lost` is called once when the other end is gone."""

    def __init__(self, kind: object, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(kind)
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message, self._on_lost = on_message, on_lost
        self._frames = Frames()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the event loop calls this."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not its subclasses

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into messages; the event loop calls this."""
        for body in self._frames.cut(data):
            self._on_message(self._decoder.decode(body))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Tell the owner; the event loop calls this."""
        self._transport = None
        self._on_lost()

    def send(self, message: Message) -> None:
        """Queue a message; it leaves within `FLUSH_SECONDS`. After the other end is gone it goes nowhere."""
        if self._transport is None:
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self._outgoing.append(frame(self._encoder.encode(message)))

    def flush(self) -> None:
        """Write what has gathered."""
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def abort(self) -> None:
        """Hang up at once, whatever was still to be sent."""
        self._outgoing.clear()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Send what has gathered and hang up."""
        self.flush()
        if self._transport is not None:
            self._transport.close()
