"""OpenAI's fields for a file: each is served or refused, in OpenAI's own shape of an error."""

from dataclasses import dataclass
from typing import Never

from starlette.datastructures import FormData

from server.languages import LanguageError
from server.request_parsing import UnreadableError, flag, read_json
from server.sessions.audio_request import AudioRequest
from server.sessions.turn_detection import ServerVad
from server.uploads.multipart_form import FormError

ANSWERS = ("json", "text", "srt", "verbose_json", "vtt")
_GRANULARITIES = ("word", "segment")
MODEL = "whisper-1"
"""What OpenAI calls its Whisper; it means the server's model, whichever that is."""


@dataclass(frozen=True)
class TranscriptionRequest:
    audio: AudioRequest
    answer: str = "json"
    """One of ANSWERS."""
    stream: bool = False
    segments: bool = True
    words: bool = False


class _Fields:
    """The fields of a form, each taken once; what is left over was not understood."""

    def __init__(self, form: FormData) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                self._values.setdefault(name, []).append(value)
            elif name != "file":
                raise FormError(f"{name[:64]!r} is not a file of this form; name it file", name[:64])

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


def read_options(form: FormData, model: str) -> TranscriptionRequest:
    """What a form asks for; `model` is the name of the server's own.

    Raises:
        FormError: a field that is not served.
    """
    fields = _Fields(form)
    _check_model(fields.one("model"), model)
    answer = fields.one("response_format") or "json"
    if answer not in ANSWERS:
        _unsupported(f"response_format {answer[:64]!r} is not supported; use {', '.join(ANSWERS)}", "response_format")
    stream = _flag(fields.one("stream"), "stream")
    if stream and answer != "json":
        _unsupported("a streamed answer is JSON; leave response_format out", "response_format")
    grains = _granularities(fields, answer)
    _check_decoding(fields)
    audio = _audio(fields, words="word" in grains)
    if left := fields.rest():
        name = left[0][:64]
        raise FormError(f"Unrecognized request argument supplied: {name}", name, code="unknown_parameter")
    return TranscriptionRequest(audio, answer, stream, not grains or "segment" in grains, "word" in grains)


def _granularities(fields: _Fields, answer: str) -> list[str]:
    grains = fields.many("timestamp_granularities")
    if grains and answer != "verbose_json":
        _unsupported("timestamp_granularities needs response_format verbose_json", "timestamp_granularities")
    for grain in grains:
        if grain not in _GRANULARITIES:
            message = f"timestamp granularity {grain[:64]!r} is not supported; use word or segment"
            _unsupported(message, "timestamp_granularities")
    return grains


def _check_model(asked: str, model: str) -> None:
    if asked and asked.lower() not in (MODEL, model.lower()):
        message = f"The model {asked[:64]!r} does not exist here; this server has {model} ({MODEL} means it too)"
        raise FormError(message, "model", code="model_not_found", status=404)


def _check_decoding(fields: _Fields) -> None:
    """Let through what asks for nothing more than what is done anyway."""
    if fields.one("prompt"):
        _unsupported("a prompt is not supported; leave it out", "prompt")
    temperature = fields.one("temperature")
    try:
        warm = bool(temperature) and float(temperature) != 0
    except ValueError:
        _unsupported(f"temperature {temperature[:64]!r} is not a number", "temperature")
    if warm:
        _unsupported("a temperature other than 0 is not supported", "temperature")
    for name in ("include", "known_speaker_names", "known_speaker_references", "keywords", "languages"):
        if fields.many(name):
            _unsupported(f"{name} is not supported; leave it out", name)


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
