"""OpenAI's form for a file, read as it arrives: bounded parts, bounded headers, bounded bytes, one file.

Every field that is read is served or refused: one that would be ignored is an error, in OpenAI's own shape.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import BinaryIO, Never

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.languages import LanguageError
from server.request_parsing import UnreadableError, flag, read_json
from server.sessions.audio_request import AudioRequest
from server.sessions.turn_detection import ServerVad
from server.uploads.file_decoder import holder

MAX_BYTES = 25 << 20
"""OpenAI's own limit for a file."""
_FORM_BYTES = 256 << 10
"""Of everything in the form that is not the file."""
_FIELD_BYTES = 32 << 10
_FIELDS = 64
STALLED_SECONDS = 30.0
SLOWEST_BYTES = 32 << 10
"""An upload holds a slot and keeps other files waiting: it may pause for so long in all, and else comes at this many
bytes a second at least."""
ANSWERS = ("json", "text", "srt", "verbose_json", "vtt")
_GRANULARITIES = ("word", "segment")
MODEL = "whisper-1"
"""What OpenAI calls its Whisper: here it is the server's model, whichever that is."""


class FormError(ValueError):
    """The form cannot be served; the rest is OpenAI's error object."""

    def __init__(self, message: str, param: str | None = None, *, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


@dataclass(frozen=True)
class TranscriptionRequest:
    """What is wanted of a file."""

    audio: AudioRequest
    answer: str = "json"
    stream: bool = False
    segments: bool = True
    words: bool = False


class _Held(UploadFile):
    """A file in memory, where starlette would have a thread for each piece of it."""

    async def write(self, data: bytes) -> None:
        self.size = (self.size or 0) + len(data)
        self.file.write(data)

    async def seek(self, offset: int) -> None:
        self.file.seek(offset)

    async def close(self) -> None:
        self.file.close()


class _Parser(MultiPartParser):
    """starlette's, which puts a file where its decoder reads it, counts it, and knows how large the rest may be."""

    def __init__(self, request: Request) -> None:
        super().__init__(
            request.headers, _bounded(request, self), max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
        )
        self.file_bytes = 0

    def on_headers_finished(self) -> None:
        """A file on the heap would be there twice, and leave holes."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            file = holder()
            self._files_to_close_on_error.append(file)  # type: ignore[arg-type]  # what is asked of it is `close`
            part.file = _Held(file, size=0, filename=part.file.filename)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self.file_bytes += end - start
            if self.file_bytes > MAX_BYTES:
                raise too_large()
        super().on_part_data(data, start, end)


async def _bounded(request: Request, parser: "_Parser") -> AsyncGenerator[bytes, None]:
    """The body as it comes; an end to it when it is too large or too slow."""
    size, loop = 0, asyncio.get_running_loop()
    due = loop.time() + STALLED_SECONDS
    async with asyncio.timeout_at(due) as limit:
        async for chunk in request.stream():
            size += len(chunk)
            if size - parser.file_bytes > _FORM_BYTES + len(chunk):
                raise FormError("the form has too much in it beside its file")
            limit.reschedule(due + size / SLOWEST_BYTES)
            yield chunk


def too_large() -> FormError:
    """The file is."""
    return FormError(f"a file may have {MAX_BYTES >> 20} MiB", "file", status=413)


async def read(request: Request, model: str) -> tuple[TranscriptionRequest, BinaryIO]:
    """What is wanted, and the file, which is the caller's to close.

    Raises:
        FormError: it cannot be served.
        ClientDisconnect: nobody waits for it any more.
    """
    form = await _parsed(request)
    try:
        upload = form.get("file")
        if not isinstance(upload, UploadFile) or not upload.size:
            raise FormError("the field named file is missing or empty", "file")
        wanted = _wanted(form, model)
        await upload.seek(0)
        return wanted, os.fdopen(os.dup(upload.file.fileno()), "rb")
    finally:
        await form.close()


async def _parsed(request: Request) -> FormData:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise FormError("send multipart/form-data with a field named file")
    try:
        return await _Parser(request).parse()
    except MultiPartException as error:
        raise FormError(f"the form cannot be read: {error.message}") from error
    except TimeoutError as error:
        raise FormError("the upload takes too long", "file", status=408) from error


class _Fields:
    """The fields of a form, each taken once; what is left over was not understood."""

    def __init__(self, form: FormData) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                self._values.setdefault(name, []).append(value)
            elif name != "file":
                raise FormError(f"{name[:64]!r} is no file of this form; name it file", name[:64])

    def one(self, name: str) -> str:
        """A value; empty where there is none."""
        found = self._values.pop(name, [""])
        if len(found) > 1:
            raise FormError(f"{name} is given {len(found)} times", name)
        return found[0].strip()

    def many(self, name: str) -> list[str]:
        """The values of a list, with brackets behind its name or without."""
        return self._values.pop(f"{name}[]", []) + self._values.pop(name, [])

    def rest(self) -> list[str]:
        """The names of what nobody asked for."""
        return list(self._values)


def _wanted(form: FormData, model: str) -> TranscriptionRequest:
    fields = _Fields(form)
    _check_model(fields.one("model"), model)
    answer = fields.one("response_format") or "json"
    if answer not in ANSWERS:
        _unsupported(f"response_format {answer[:64]!r} is not offered; say {', '.join(ANSWERS)}", "response_format")
    stream = _flag(fields.one("stream"), "stream")
    if stream and answer != "json":
        _unsupported("a streamed answer is JSON; leave response_format out", "response_format")
    grains = fields.many("timestamp_granularities")
    if grains and answer != "verbose_json":
        _unsupported("timestamp_granularities needs response_format verbose_json", "timestamp_granularities")
    for grain in grains:
        if grain not in _GRANULARITIES:
            message = f"timestamp granularity {grain[:64]!r} is not offered; say word or segment"
            _unsupported(message, "timestamp_granularities")
    _check_decoding(fields)
    audio = _audio(fields, words="word" in grains)
    if left := fields.rest():
        name = left[0][:64]
        raise FormError(f"Unrecognized request argument supplied: {name}", name, code="unknown_parameter")
    return TranscriptionRequest(audio, answer, stream, not grains or "segment" in grains, "word" in grains)


def _check_model(asked: str, model: str) -> None:
    if asked and asked.lower() not in (MODEL, model.lower()):
        message = f"The model {asked[:64]!r} does not exist here; this server has {model} ({MODEL} means it too)"
        raise FormError(message, "model", code="model_not_found", status=404)


def _check_decoding(fields: _Fields) -> None:
    """Let through what asks for nothing more than what is done anyway."""
    if fields.one("prompt"):
        _unsupported("a prompt is not offered; leave it out", "prompt")
    temperature = fields.one("temperature")
    try:
        warm = bool(temperature) and float(temperature) != 0
    except ValueError:
        _unsupported(f"temperature {temperature[:64]!r} is not a number", "temperature")
    if warm:
        _unsupported("a temperature other than 0 is not offered", "temperature")
    for name in ("include", "known_speaker_names", "known_speaker_references", "keywords", "languages"):
        if fields.many(name):
            _unsupported(f"{name} is not offered; leave it out", name)


def _audio(fields: _Fields, *, words: bool) -> AudioRequest:
    try:
        vad = _vad(fields.one("chunking_strategy"), fields)
        return AudioRequest(language=fields.one("language"), words=words, turns=vad.turns())
    except LanguageError as error:
        raise FormError(str(error), "language", code="unsupported_language") from error


def _vad(text: str, fields: _Fields) -> ServerVad:
    """`auto`, an object in JSON, or its fields one by one, as OpenAI's clients send it."""
    names = [name for name in fields.rest() if name.startswith("chunking_strategy[")]
    parts = {name.removeprefix("chunking_strategy[").removesuffix("]"): fields.one(name) for name in names}
    if not parts and text in ("", "auto"):
        return ServerVad()
    try:
        return read_json(text, ServerVad) if not parts else ServerVad.of_text(parts)
    except UnreadableError as error:
        message = f"chunking_strategy is auto or an object of type server_vad: {error}"
        raise FormError(message, "chunking_strategy", code="unsupported_value") from error


def _flag(text: str, name: str) -> bool:
    try:
        return bool(text) and flag(text, name)
    except UnreadableError as error:
        raise FormError(str(error), name) from error


def _unsupported(message: str, param: str) -> Never:
    raise FormError(message, param, code="unsupported_value")
