"""An uploaded form, read as it arrives: starlette's parser, with bounds on parts, headers, bytes and time.

Its file is put into memory outside of the heap. starlette's goes to a disk beyond 1 MiB, where no audio may be; on the
heap four files of 25 MiB took 132 MB beside what their decoders read (measured), and left holes.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.uploads.file_decoder import memory_file

MAX_BYTES = 25 << 20
"""OpenAI's own limit for a file."""
_FORM_BYTES = 256 << 10
"""Of everything in the form that is not the file."""
_FIELD_BYTES = 32 << 10
_FIELDS = 64
STALLED_SECONDS = 30.0
"""An upload holds a slot and keeps other files waiting: it may pause for so long in all, and else comes at
SLOWEST_BYTES a second at least."""
SLOWEST_BYTES = 32 << 10


class FormError(ValueError):
    """The form cannot be served; the fields are those of OpenAI's error object."""

    def __init__(self, message: str, param: str | None = None, *, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def too_large() -> FormError:
    return FormError(f"a file may have {MAX_BYTES >> 20} MiB", "file", status=413)


async def read_form(request: Request) -> FormData:
    """The fields of a form, and its file; closing the form closes the file.

    Raises:
        FormError: it cannot be read, or is beyond a bound.
        ClientDisconnect: the client left.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise FormError("send multipart/form-data with a field named file")
    try:
        return await _Parser(request).parse()
    except MultiPartException as error:
        raise FormError(f"the form cannot be read: {error.message}") from error
    except TimeoutError as error:
        raise FormError("the upload is too slow", "file", status=408) from error


def upload_of(form: FormData) -> UploadFile:
    """The file of a form.

    Raises:
        FormError: there is none, or it is empty.
    """
    upload = form.get("file")
    if not isinstance(upload, UploadFile) or not upload.size:
        raise FormError("the field named file is missing or empty", "file")
    return upload


async def detached(upload: UploadFile) -> BinaryIO:
    """The file at its beginning, the caller's to close: it stays open when its form is closed."""
    await upload.seek(0)
    return os.fdopen(os.dup(upload.file.fileno()), "rb")


class _MemoryUpload(UploadFile):
    """Written and closed at once, where starlette would start a thread for each piece."""

    async def write(self, data: bytes) -> None:
        self.size = (self.size or 0) + len(data)
        self.file.write(data)

    async def seek(self, offset: int) -> None:
        self.file.seek(offset)

    async def close(self) -> None:
        self.file.close()


class _Parser(MultiPartParser):
    def __init__(self, request: Request) -> None:
        super().__init__(
            request.headers, _bounded(request, self), max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
        )
        self.file_bytes = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            file = memory_file()
            self._files_to_close_on_error.append(file)  # type: ignore[arg-type]  # what is asked of it is `close`
            part.file = _MemoryUpload(file, size=0, filename=part.file.filename)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self.file_bytes += end - start
            if self.file_bytes > MAX_BYTES:
                raise too_large()
        super().on_part_data(data, start, end)


async def _bounded(request: Request, parser: _Parser) -> AsyncGenerator[bytes, None]:
    """The body in pieces.

    Raises:
        FormError: there is too much beside the file.
        TimeoutError: it comes too slowly.
    """
    size, loop = 0, asyncio.get_running_loop()
    due = loop.time() + STALLED_SECONDS
    async with asyncio.timeout_at(due) as limit:
        async for chunk in request.stream():
            size += len(chunk)
            if size - parser.file_bytes > _FORM_BYTES + len(chunk):
                raise FormError(f"the form may have {_FORM_BYTES >> 10} KiB beside its file")
            limit.reschedule(due + size / SLOWEST_BYTES)
            yield chunk
