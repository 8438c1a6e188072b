"""`POST /v1/audio/transcriptions`: OpenAI's form for files. A file is a stream that is played as fast as it goes."""

import asyncio
import email.parser
import email.policy
import io
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from server import ipc
from server.encodings import SAMPLE_RATE
from server.front.hub import Hub, Refused
from server.front.session import Audio, Session
from server.languages import NAMES, LanguageError
from whisper_ops import wire

MAX_BYTES = 25 << 20
"""OpenAI's own limit for an upload."""
MAX_SECONDS = 2 * 3600
"""Of audio: a small file can hold days of silence."""
_AHEAD_SECONDS = 20.0
"""So much audio may wait for its text; a live stream may fall behind further before it is stopped."""
_CHUNK = SAMPLE_RATE * 2


class _UploadError(ValueError):
    """The upload cannot be taken; the message says why."""


@dataclass(frozen=True)
class Form:
    """What was uploaded, as 16-bit samples at 16 kHz, and what is wanted of it."""

    audio: bytes
    language: str | None
    answer: str


def read_form(content_type: str, body: bytes) -> Form:
    """Take the form apart and decode its file. Blocks: call it in a thread.

    Raises:
        _UploadError: it is no such form, or the file no audio.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise _UploadError("send multipart/form-data with a field named file")
    fields: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload
    if not fields.get("file"):
        raise _UploadError("the field named file is missing or empty")
    answer = fields.get("response_format", b"json").decode(errors="replace")
    if answer not in ("json", "text", "verbose_json"):
        raise _UploadError(f"response_format {answer!r} is not offered; say json, text or verbose_json")
    return Form(_decoded(fields["file"]), fields.get("language", b"").decode(errors="replace") or None, answer)


def _decoded(data: bytes) -> bytes:
    import av  # noqa: PLC0415  # half a second, for the first file only

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    samples = bytearray()
    try:
        with av.open(io.BytesIO(data), "r") as container:
            for frame in itertools.chain(container.decode(audio=0), [None]):
                for out in resampler.resample(frame):
                    samples += out.to_ndarray().tobytes()
                if len(samples) > MAX_SECONDS * SAMPLE_RATE * 2:
                    raise _UploadError(
                        f"the file holds more than {MAX_SECONDS // 3600} hours of audio; send it in parts"
                    )
    except (av.FFmpegError, IndexError) as error:
        raise _UploadError(f"the file holds no audio that can be read: {error}") from error
    return bytes(samples)


async def _finals(hub: Hub, session: Session, audio: bytes) -> AsyncIterator[ipc.Final]:
    """Play the audio no faster than it is decoded, and pass on the finals.

    Raises:
        Refused: the stream could not be brought to its end.
    """
    feeding = asyncio.create_task(_feed(hub, session, audio))
    try:
        while (message := await session.outbox.get()) is not None:
            match message:
                case ipc.Final():
                    yield message
                case ipc.Fault():
                    raise Refused(message.code, message.reason)
                case ipc.Done():
                    return
    finally:
        feeding.cancel()


async def _feed(hub: Hub, session: Session, audio: bytes) -> None:
    for at in range(0, len(audio), _CHUNK):
        while session.lag_s > _AHEAD_SECONDS:  # noqa: ASYNC110  # lag is a figure, not an event
            await asyncio.sleep(0.02)
        hub.hear(session, audio[at : at + _CHUNK])
        await asyncio.sleep(0)
    hub.end(session)


def _error(status: int, message: str, kind: str, param: str | None = None, **headers: str) -> Response:
    body = {"error": {"message": message, "type": kind, "param": param, "code": None}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(wire.encode(body), status, named, "application/json")


def router(hub: Hub) -> APIRouter:
    """The route over one hub."""
    api = APIRouter()

    @api.post("/v1/audio/transcriptions", summary="A whole file, in OpenAI's form")
    async def transcriptions(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                return _error(413, f"a file may have {MAX_BYTES >> 20} MiB", "invalid_request_error")
        try:
            form = await asyncio.to_thread(read_form, request.headers.get("content-type", ""), bytes(body))
        except _UploadError as error:
            return _error(400, str(error), "invalid_request_error")
        address = request.client.host if request.client else ""
        try:
            return await _transcribe(hub, form, address)
        except Refused as refusal:
            return _error(503, refusal.message, "server_error", Retry_After=f"{refusal.retry_after_s:.0f}")
        except LanguageError as error:
            return _error(400, str(error), "invalid_request_error", "language")

    return api


async def _transcribe(hub: Hub, form: Form, address: str) -> Response:
    connection_id = secrets.token_hex(6)
    hub.admit(connection_id, address)
    session = None
    try:
        await hub.wait_ready(connection_id)
        session = hub.open(connection_id, Audio(language=form.language), address=address)
        finals = [final async for final in _finals(hub, session, form.audio)]
    finally:
        if session is not None:
            hub.close(session, failed=not session.done)
        else:
            hub.leave(connection_id)
    text = " ".join(final.text for final in finals)
    if form.answer == "text":
        return Response(text + "\n", media_type="text/plain; charset=utf-8")
    if form.answer == "json":
        return Response(wire.encode({"text": text}), media_type="application/json")
    segments = [{"id": i, "start": f.start, "end": f.end, "text": f.text} for i, f in enumerate(finals)]
    seconds = len(form.audio) / 2 / SAMPLE_RATE
    language = NAMES.get(session.audio.language or "")
    verbose = {"task": "transcribe", "language": language, "duration": seconds, "text": text, "segments": segments}
    return Response(wire.encode(verbose), media_type="application/json")
