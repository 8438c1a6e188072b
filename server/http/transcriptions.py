"""`POST /v1/audio/transcriptions`: OpenAI's form for a whole file. Work on it ends when the client leaves."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from server.connections.while_connected import while_connected
from server.languages import LanguageError
from server.sessions.hub import Hub
from server.sessions.refusals import AdmissionRefused
from server.uploads import responses, transcription_job
from server.uploads.file_decoder import DecodeError
from server.uploads.file_queue import FileQueue
from server.uploads.multipart_form import FormError
from server.uploads.transcription_job import TranscriptionJob, UndecodedError, finals, open_job, until_disconnect


def router(hub: Hub) -> APIRouter:
    api = APIRouter()
    queue = FileQueue(transcription_job.FILES_AT_ONCE)

    @api.post("/v1/audio/transcriptions", summary="A whole file, in OpenAI's form")
    async def transcriptions(request: Request) -> Response:
        opened = open_job(hub, request, queue)
        try:
            job = await anext(opened)
        except BaseException as error:  # noqa: BLE001  # what has no answer is raised again
            await opened.aclose()
            return _error_answer(error)
        if job.options.stream:
            return StreamingResponse(_events(hub, job, opened), media_type="text/event-stream")
        async with aclosing(opened):
            try:
                return await while_connected(_whole(hub, job), until_disconnect(request))
            except ClientDisconnect as error:
                return _error_answer(error)

    return api


def _error_answer(error: BaseException) -> Response:
    match error:
        case FormError():
            return responses.error(error.status, str(error), "invalid_request_error", error.param, error.code)
        case DecodeError():
            return responses.error(400, str(error), "invalid_request_error", "file")
        case LanguageError():
            return responses.error(400, str(error), "invalid_request_error", "language", "unsupported_language")
        case UndecodedError():
            return responses.error(500, str(error), "server_error", code="decode_failed")
        case AdmissionRefused():
            retry = f"{error.retry_after_s:.0f}"
            return responses.error(503, error.message, "server_error", code=error.code, Retry_After=retry)
        case ClientDisconnect():
            return Response(status_code=499)  # nobody reads it
    raise error


async def _whole(hub: Hub, job: TranscriptionJob) -> Response:
    try:
        texts = [final async for final in finals(hub, job)]
    except (DecodeError, AdmissionRefused, UndecodedError) as error:
        job.failed = not isinstance(error, DecodeError)
        return _error_answer(error)
    return responses.whole(job.options, texts, job.session.received_s, hub.language_of(job.session))


async def _events(
    hub: Hub, job: TranscriptionJob, opened: AsyncGenerator[TranscriptionJob, None]
) -> AsyncIterator[bytes]:
    """The finals as they come, then the whole text; an error is an event, too."""
    texts: list[str] = []
    async with aclosing(opened):
        try:
            async for final in finals(hub, job):
                yield responses.delta(f" {final.text}" if texts else final.text)
                texts.append(final.text)
        except (DecodeError, AdmissionRefused, UndecodedError) as error:
            job.failed = not isinstance(error, DecodeError)
            yield b"data: " + bytes(_error_answer(error).body) + b"\n\n"
        else:
            yield responses.done(" ".join(texts))
