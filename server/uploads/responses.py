"""What becomes of a file's finals: OpenAI's answers, whole or as events."""

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.responses import Response

from server import ipc
from server.languages import NAMES
from server.uploads.transcription_form import TranscriptionRequest
from whisper_ops import wire


def error(
    status: int, message: str, kind: str, param: str | None = None, code: str | None = None, **headers: str
) -> Response:
    """OpenAI's error object."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(wire.encode(error_object(message, kind, param, code)), status, named, "application/json")


def error_object(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The same as JSON."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def whole(options: TranscriptionRequest, finals: Sequence[ipc.Final], seconds: float, language: str | None) -> Response:
    """The answer that was asked for, at once. `language` is a code, where it is known."""
    text = " ".join(final.text for final in finals)
    match options.answer:
        case "text":
            return Response(text + "\n", media_type="text/plain; charset=utf-8")
        case "srt":
            return Response(_srt(finals), media_type="application/x-subrip; charset=utf-8")
        case "vtt":
            return Response(_vtt(finals), media_type="text/vtt; charset=utf-8")
        case "verbose_json":
            body = _verbose(options, finals, seconds, language) | {"text": text}
        case _:
            body = {"text": text}
    usage = {"type": "duration", "seconds": round(seconds, 3)}
    return Response(wire.encode(body | {"usage": usage}), media_type="application/json")


def _verbose(
    options: TranscriptionRequest, finals: Sequence[ipc.Final], seconds: float, language: str | None
) -> dict[str, Any]:
    name = NAMES.get(language or "")
    body: dict[str, Any] = {"task": "transcribe", "language": name, "duration": round(seconds, 3)}
    if options.segments:
        body["segments"] = [_segment(number, final) for number, final in enumerate(finals)]
    if options.words:
        body["words"] = [
            {"word": word.word, "start": round(word.start, 3), "end": round(word.end, 3)}
            for final in finals
            for word in final.words or ()
        ]
    return body


def _segment(number: int, final: ipc.Final) -> dict[str, Any]:
    start, end = round(final.start, 3), round(final.end, 3)
    return {"id": number, "seek": int(start * 100), "start": start, "end": end, "text": final.text, "temperature": 0.0}


def _srt(finals: Iterable[ipc.Final]) -> str:
    cues = (
        f"{number}\n{_time(final.start, ',')} --> {_time(final.end, ',')}\n{_cue(final.text)}\n"
        for number, final in enumerate(finals, 1)
    )
    return "\n".join(cues)


def _vtt(finals: Iterable[ipc.Final]) -> str:
    cues = (f"{_time(final.start, '.')} --> {_time(final.end, '.')}\n{_cue(final.text)}\n" for final in finals)
    return "\n".join(["WEBVTT\n", *cues])


def _cue(text: str) -> str:
    """A cue ends at an empty line, and an arrow is its head's."""
    return " ".join(text.split()).replace("-->", "→")


def _time(seconds: float, point: str) -> str:
    whole_s, ms = divmod(round(seconds * 1000), 1000)
    return f"{whole_s // 3600:02d}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}{point}{ms:03d}"


def event(fields: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + wire.encode(fields) + b"\n\n"


def delta(text: str) -> bytes:
    """More text."""
    return event({"type": "transcript.text.delta", "delta": text})


def done(text: str) -> bytes:
    """All of it."""
    return event({"type": "transcript.text.done", "text": text})
