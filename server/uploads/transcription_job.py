"""A file in work: a stream whose audio is sent as fast as it is decoded.

A slot is taken before the first byte of a file is read. Few files are in work at once, so that together they have a
bound of memory and leave slots to live streams; the others wait, unread.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from starlette.requests import Request

from server import ipc
from server.connections.while_connected import while_connected
from server.sessions.hub import Hub
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session
from server.uploads import multipart_form
from server.uploads.file_decoder import DecodeError, FileDecoder
from server.uploads.file_queue import FileQueue
from server.uploads.transcription_form import TranscriptionRequest, read_options

MAX_SECONDS = 2 * 3600
"""Of audio: a small file can hold days of silence."""
FILES_AT_ONCE = 4
"""Of one address one less. Each may hold its 25 MiB and a decoding process of at most half a GiB."""
QUEUE_SECONDS = 60.0
"""A file waits for its turn at most so long."""
_MAX_LAG_SECONDS = 20.0
"""Audio that may wait for its text; a live stream may fall behind further before it is stopped."""


class UndecodedError(Exception):
    """The engine failed on a part of the file."""


@dataclass
class TranscriptionJob:
    options: TranscriptionRequest
    session: Session
    decoder: FileDecoder
    failed: bool = False
    """By a fault of the server."""


async def open_job(hub: Hub, request: Request, queue: FileQueue) -> AsyncGenerator[TranscriptionJob, None]:
    """One job, whose slot, process and memory are given back when this generator is closed.

    Raises:
        AdmissionRefused, FormError, LanguageError, ClientDisconnect: there is none.
    """
    if int(request.headers.get("content-length") or 0) > multipart_form.MAX_BYTES + (1 << 20):
        raise multipart_form.too_large()
    connection_id, address = secrets.token_hex(6), request.client.host if request.client else ""
    async with _turn(queue, address):
        hub.admission.admit(connection_id, address)
        session = job = None
        try:
            options, file = await _read(hub, request)
            with file:
                await while_connected(hub.wait_ready(connection_id), until_disconnect(request))
                session = hub.open(connection_id, options.audio, address=address)
                job = TranscriptionJob(options, session, await _decoder(file))
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
    """What is asked for, and the file, which is the caller's to close."""
    try:
        form = await multipart_form.read_form(request)
        try:
            upload = multipart_form.upload_of(form)
            return read_options(form, hub.settings.model), await multipart_form.detached(upload)
        finally:
            await form.close()
    except OSError as error:
        raise _exhausted(error) from error


async def _decoder(file: BinaryIO) -> FileDecoder:
    try:
        return await asyncio.to_thread(FileDecoder, file, MAX_SECONDS)
    except OSError as error:
        raise _exhausted(error) from error


def _exhausted(error: OSError) -> AdmissionRefused:
    """This machine has no memory, file or process left for the file."""
    return AdmissionRefused("server_fault", f"the file cannot be accepted: {error.strerror}; try again soon")


@asynccontextmanager
async def _turn(queue: FileQueue, address: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(queue.turn(address, QUEUE_SECONDS))
        except TimeoutError as error:
            raise AdmissionRefused(
                "too_many_files", f"{FILES_AT_ONCE} files are being transcribed; try again soon"
            ) from error
        yield


async def until_disconnect(request: Request) -> None:
    """Return when the client is gone; its request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def finals(hub: Hub, job: TranscriptionJob) -> AsyncIterator[ipc.Final]:
    """Send the audio no faster than it is decoded, and pass on the finals.

    Raises:
        DecodeError: the file is no audio.
        AdmissionRefused: the stream could not be brought to its end.
        UndecodedError: words are missing.
    """
    sending = asyncio.create_task(_send_audio(hub, job))
    sending.add_done_callback(lambda task: job.session.outbox.close() if _failed(task) else None)
    try:
        while (message := await job.session.outbox.get()) is not None:
            match message:
                case ipc.Final():
                    yield message
                case ipc.Undecoded():
                    raise UndecodedError(ipc.undecoded_sentence(message))
                case ipc.Fault():
                    raise AdmissionRefused(message.code, message.reason)
                case ipc.Done():
                    return
        await sending
    finally:
        sending.cancel()
        job.decoder.end()
        await asyncio.gather(sending, return_exceptions=True)


def _failed(task: "asyncio.Task[None]") -> bool:
    return not task.cancelled() and task.exception() is not None


async def _send_audio(hub: Hub, job: TranscriptionJob) -> None:
    session = job.session
    while data := await asyncio.to_thread(job.decoder.read):
        while session.lag_s > _MAX_LAG_SECONDS and not session.done:  # noqa: ASYNC110  # lag is a figure, not an event
            await asyncio.sleep(0.02)
        if session.done:
            return
        hub.receive_audio(session, data)
        await asyncio.sleep(0)
    if not session.received_samples:
        raise DecodeError("the file holds no audio")
    hub.end_audio(session)
