"""Sound that the page at `/` can play, for somebody who has no microphone at hand.

No recording ships with whisper-ops. The sound is the file of `--sample`; else tones on a simulated engine, which hears
nothing else; else three sentences that the voice of the [speech] extra reads when they are first asked for. It is kept
in memory. What lies on this machine, as a corpus of calls may, is never offered unless `--sample` names it.
"""

import asyncio
import io
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter, Response

from server.http.json_answers import error_answer, json_answer
from server.http.routes import answers
from server.settings import Settings
from server.uploads.file_decoder import DecodeError, FileDecoder
from whisper_ops import speech_synthesis, tone_language, wire
from whisper_ops.errors import UserError

MAX_SECONDS = 120.0
"""Of a file."""
RATE = 16000
VOICE_SECONDS = 50.0
"""The voice takes two or three seconds; on a machine that is busy many more."""
_PAUSE_SECONDS = 0.6
_TONE_WORDS = 24
_SENTENCES = (
    "The last train to the coast leaves at half past nine from platform four.",
    "Please bring two bottles of water, the blue umbrella and the old map.",
    "If it rains in the morning, we will meet at the station instead.",
)

NONE_HERE = (
    "this server has no sample: start it with --sample FILE, or install whisper-ops[speech], whose voice can read one"
)


@dataclass
class SampleAudio:
    """One sample. `make` blocks and gives a wav file; it is asked once."""

    kind: wire.SampleKind | None
    text: str | None
    make: Callable[[], bytes]
    _wav: bytes | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def described(self) -> wire.SampleSound:
        """The answer's body."""
        if self.kind is None:
            return wire.SampleSound(available=False, reason=NONE_HERE)
        return wire.SampleSound(available=True, kind=self.kind, text=self.text)

    async def wav(self) -> bytes:
        """The sound.

        Raises:
            UserError: it cannot be made.
        """
        async with self._lock:
            if self._wav is None:
                self._wav = await asyncio.to_thread(self.make)
        return self._wav


def _nothing() -> bytes:
    raise UserError(NONE_HERE)


NONE = SampleAudio(None, None, _nothing)
"""There is none."""


def router(sample: SampleAudio) -> APIRouter:
    """The routes over one sample."""
    api = APIRouter()

    @api.get("/sample", summary="The sound that the page can play", responses=answers(wire.SampleSound))
    async def described() -> Response:
        return json_answer(sample.described)

    @api.get("/sample.wav", summary="That sound")
    async def sound() -> Response:
        try:
            return Response(await sample.wav(), headers={"Cache-Control": "no-store"}, media_type="audio/wav")
        except UserError as error:
            status = 404 if sample.kind is None else 503
            return error_answer(status, str(error))

    return api


def sample_for(settings: Settings) -> SampleAudio:
    """What this server can play.

    Raises:
        UserError: the file of `--sample` cannot be played.
    """
    if settings.sample is not None:
        sound = _decoded(settings.sample)
        return SampleAudio("file", None, lambda: sound)
    if settings.engine == "simulated":
        return SampleAudio("tones", " ".join(tone_language.VOCABULARY[:_TONE_WORDS]), _tones)
    if not speech_synthesis.missing():
        return SampleAudio("voice", " ".join(_SENTENCES), _read_aloud)
    return NONE


def _tones() -> bytes:
    return _wav([tone_language.sound(range(_TONE_WORDS)).tobytes(), bytes(2 * RATE)], RATE)


def _read_aloud() -> bytes:
    with tempfile.TemporaryDirectory(prefix="whisper-ops-sample-") as folder:
        # One thread: streams are being decoded on this machine.
        files = speech_synthesis.synthesise(_SENTENCES, Path(folder), threads=1, most_seconds=VOICE_SECONDS)
        pieces, rate = [], RATE
        for path in files:
            with wave.open(str(path)) as file:
                rate = file.getframerate()
                pieces += [file.readframes(file.getnframes()), bytes(2 * round(_PAUSE_SECONDS * rate))]
    return _wav(pieces, rate)


def _decoded(path: Path) -> bytes:
    """As the server decodes an upload: shut in, and within bounds."""
    try:
        with path.open("rb") as file:
            decoder = FileDecoder(file, MAX_SECONDS)
            try:
                pieces = list(iter(decoder.read, b""))
            finally:
                decoder.close()
    except OSError as error:
        raise UserError(f"--sample {path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise UserError(f"--sample {path} cannot be played: {error}") from error
    if not pieces:
        raise UserError(f"--sample {path} holds no audio")
    return _wav(pieces, RATE)


def _wav(pieces: Sequence[bytes], rate: int) -> bytes:
    """16-bit samples of one channel as a file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(pieces))
    return out.getvalue()
