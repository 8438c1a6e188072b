"""`POST /v1/audio/transcriptions`: OpenAI's form for files. A file is a stream that is played as fast as it goes.

A slot is taken before the first byte of a file is read. A few files are in work at once, so that together they have a
bound of memory and leave slots to live streams; the others wait a little, unread. Everything ends when the client does.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from server import ipc
from server.http.file_queue import FileQueue
from server.languages import LanguageError
from server.sessions.hub import AdmissionRefused, Hub
from server.sessions.session import Session
from server.uploads import multipart_form, responses
from server.uploads.file_decoder import DecodeError, FileDecoder
from server.uploads.multipart_form import FormError, TranscriptionRequest

T = TypeVar("T")

MAX_SECONDS = 2 * 3600
"""Of audio: a small file can hold days of silence."""
AT_ONCE = 4
"""Files in work, of one address one less. Each may hold its 25 MiB and a decoding process of at most half a GiB."""
TURN_SECONDS = 60.0
"""A file waits so long for its turn."""
_AHEAD_SECONDS = 20.0
"""So much audio may wait for its text; a live stream may fall behind further before it is stopped."""


class _UndecodedError(Exception):
    """The engine failed on a part of the file."""


@dataclass
class _Job:
    """One file in work."""

    wanted: TranscriptionRequest
    session: Session
    decoder: FileDecoder
    failed: bool = False
    """By a fault of ours."""

    @property
    def seconds(self) -> float:
        """Of sound, so far."""
        return self.session.received_s


def router(hub: Hub) -> APIRouter:
    """The route over one hub."""
    api = APIRouter()
    turns = FileQueue(AT_ONCE)

    @api.post("/v1/audio/transcriptions", summary="A whole file, in OpenAI's form")
    async def transcriptions(request: Request) -> Response:
        opened = _opened(hub, request, turns)
        try:
            job = await anext(opened)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it has an answer, or goes on its way below
            await opened.aclose()
            return _answer_to(error)
        if job.wanted.stream:
            return StreamingResponse(_events(hub, job, opened), media_type="text/event-stream")
        async with aclosing(opened):
            try:
                return await _while_there(request, _whole(hub, job))
            except ClientDisconnect as error:
                return _answer_to(error)

    return api


async def _opened(hub: Hub, request: Request, turns: FileQueue) -> AsyncGenerator[_Job, None]:
    """One job, whose slot, process and memory are given back when this generator is closed.

    Raises:
        AdmissionRefused, FormError, LanguageError, ClientDisconnect: there is none.
    """
    if int(request.headers.get("content-length") or 0) > multipart_form.MAX_BYTES + (1 << 20):
        raise multipart_form.too_large()
    connection_id, address = secrets.token_hex(6), request.client.host if request.client else ""
    async with _turn(turns, address):
        hub.admission.admit(connection_id, address)
        session = job = None
        try:
            wanted, file = await _read(hub, request)
            with file:
                await _while_there(request, hub.wait_ready(connection_id))
                session = hub.open(connection_id, wanted.audio, address=address)
                job = _Job(wanted, session, await _decoder(file))
            yield job
        finally:
            if session is not None:
                hub.close(session, failed=job is None or job.failed)
            else:
                hub.release(connection_id)
            if job is not None:
                job.decoder.end()
                await asyncio.shield(asyncio.to_thread(job.decoder.close))


async def _read(hub: Hub, request: Request) -> tuple[TranscriptionRequest, BinaryIO]:
    try:
        return await multipart_form.read(request, hub.settings.model)
    except OSError as error:
        raise _exhausted(error) from error


async def _decoder(file: BinaryIO) -> FileDecoder:
    """A process for it."""
    try:
        return await asyncio.to_thread(FileDecoder, file, MAX_SECONDS)
    except OSError as error:
        raise _exhausted(error) from error


def _exhausted(error: OSError) -> AdmissionRefused:
    """This machine has no memory, file or process left for it."""
    return AdmissionRefused("server_fault", f"the file cannot be taken in: {error.strerror}; try again soon")


@asynccontextmanager
async def _turn(turns: FileQueue, address: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turns.turn(address, TURN_SECONDS))
        except TimeoutError as error:
            raise AdmissionRefused("too_many_files", f"{AT_ONCE} files are in work; try again soon") from error
        yield


def _answer_to(error: BaseException) -> Response:
    """Of a request that came to nothing."""
    match error:
        case FormError():
            return responses.error(error.status, str(error), "invalid_request_error", error.param, error.code)
        case DecodeError():
            return responses.error(400, str(error), "invalid_request_error", "file")
        case LanguageError():
            return responses.error(400, str(error), "invalid_request_error", "language", "unsupported_language")
        case _UndecodedError():
            return responses.error(500, str(error), "server_error", code="decode_failed")
        case AdmissionRefused():
            retry = f"{error.retry_after_s:.0f}"
            return responses.error(503, error.message, "server_error", code=error.code, Retry_After=retry)
        case ClientDisconnect():
            return Response(status_code=499)  # nobody reads it
    raise error


async def _while_there(request: Request, work: Coroutine[None, None, T]) -> T:
    """Do it while the client is there. Its request has been read.

    Raises:
        ClientDisconnect: it left.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _whole(hub: Hub, job: _Job) -> Response:
    try:
        finals = [final async for final in _finals(hub, job)]
    except (DecodeError, AdmissionRefused, _UndecodedError) as error:
        job.failed = not isinstance(error, DecodeError)
        return _answer_to(error)
    return responses.whole(job.wanted, finals, job.seconds, hub.language_of(job.session))


async def _events(hub: Hub, job: _Job, opened: AsyncGenerator[_Job, None]) -> AsyncIterator[bytes]:
    """The finals as they come, then all of them; an error, when it comes to one, is an event too."""
    texts: list[str] = []
    async with aclosing(opened):
        try:
            async for final in _finals(hub, job):
                yield responses.delta(f" {final.text}" if texts else final.text)
                texts.append(final.text)
        except (DecodeError, AdmissionRefused, _UndecodedError) as error:
            job.failed = not isinstance(error, DecodeError)
            yield b"data: " + bytes(_answer_to(error).body) + b"\n\n"
        else:
            yield responses.done(" ".join(texts))


async def _finals(hub: Hub, job: _Job) -> AsyncIterator[ipc.Final]:
    """Play the audio no faster than it is decoded, and pass on the finals.

    Raises:
        DecodeError: the file is no audio.
        AdmissionRefused: the stream could not be brought to its end.
        _UndecodedError: words are missing.
    """
    feeding = asyncio.create_task(_feed(hub, job))
    feeding.add_done_callback(lambda task: job.session.outbox.close() if _failed(task) else None)
    try:
        while (message := await job.session.outbox.get()) is not None:
            match message:
                case ipc.Final():
                    yield message
                case ipc.Undecoded():
                    raise _UndecodedError(ipc.undecoded_sentence(message))
                case ipc.Fault():
                    raise AdmissionRefused(message.code, message.reason)
                case ipc.Done():
                    return
        await feeding
    finally:
        feeding.cancel()
        job.decoder.end()
        await asyncio.gather(feeding, return_exceptions=True)


def _failed(task: "asyncio.Task[None]") -> bool:
    return not task.cancelled() and task.exception() is not None


async def _feed(hub: Hub, job: _Job) -> None:
    session = job.session
    while data := await asyncio.to_thread(job.decoder.read):
        while session.lag_s > _AHEAD_SECONDS and not session.done:  # noqa: ASYNC110  # lag is a figure, not an event
            await asyncio.sleep(0.02)
        if session.done:
            return
        hub.receive_audio(session, data)
        await asyncio.sleep(0)
    if not session.received_samples:
        raise DecodeError("the file holds no audio")
    hub.end_audio(session)
