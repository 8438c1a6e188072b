"""The process that decodes one uploaded file, `python -m server.uploads.decode_process MAX_SECONDS`: samples come out.

Standard input is the file, which can be sought in. Standard output is a row of frames (`whisper_ops.framing`): one byte
of kind, then samples (`A`: 16 bits, 16 kHz, mono), or at the end nothing (`Z`) or a sentence for the user (`E`).
Sentences are about the file alone: FFmpeg's own words could tell what there is on this machine.
"""

import importlib
import itertools
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import av
from av.audio.resampler import AudioResampler

from server.uploads import container_formats, sandbox
from whisper_ops import framing

RATE = 16000
_PIECE_BYTES = 64 << 10
_FAULTS = 200
"""Packets that cannot be decoded before a file counts as damaged."""
_OPTIONS = {"protocol_whitelist": "none", "codec_whitelist": container_formats.CODECS, "enable_drefs": "0"}


def _import_all() -> None:
    """What PyAV imports when a stream of some kind turns up: afterwards nothing can be opened any more."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__") and "datasets" not in module.name:
            importlib.import_module(module.name)


class UploadError(Exception):
    """A sentence for the user."""


class FileWindow:
    """A stretch of the file, for FFmpeg to read and to seek in."""

    def __init__(self, begin: int, end: int) -> None:
        self._begin, self._end = begin, end
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._begin - self.tell())
        return os.read(0, left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._end - self._begin}[whence]
        return os.lseek(0, max(0, place) + self._begin, os.SEEK_SET) - self._begin

    def tell(self) -> int:
        return os.lseek(0, 0, os.SEEK_CUR) - self._begin


def _write_frame(kind: bytes, body: bytes = b"") -> None:
    message = framing.frame(kind + body)
    while message:
        message = message[os.write(1, message) :]


def _parts() -> tuple[str, list[FileWindow]]:
    """The demuxer of the file, and the stretches of it that are containers of their own: one, mostly.

    Raises:
        UploadError: it is none that is taken.
    """
    begin = container_formats.tag_bytes(_read(0, container_formats.HEAD_BYTES))
    name = container_formats.demuxer(_read(begin, container_formats.HEAD_BYTES))
    if name is None and begin:
        name = "mp3"
    if name is None:
        raise UploadError(f"the file is not {container_formats.OFFERED}")
    # FFmpeg's mp3 demuxer reads the tag itself; the others would take it for a fault.
    begins = container_formats.ogg_links(_read, begin) if name == "ogg" else [0 if name == "mp3" else begin]
    return name, [FileWindow(*span) for span in itertools.pairwise([*begins, os.lseek(0, 0, os.SEEK_END)])]


def _opened(name: str, window: FileWindow) -> Any:  # noqa: ANN401  # PyAV's container
    window.seek(0)
    return av.open(window, "r", format=name, options=_OPTIONS, metadata_errors="replace", io_open=_refuse)


def _read(at: int, size: int) -> bytes:
    os.lseek(0, at, os.SEEK_SET)
    return os.read(0, size)


def _refuse(*_: object) -> None:
    raise UploadError("the file refers to other files, which are not read")


def _frames(container: Any) -> Iterator[Any]:  # noqa: ANN401  # PyAV's
    """The frames of the first audio stream. Packets that are damaged are left out, up to a number."""
    if not container.streams.audio:
        raise UploadError("the file holds no audio")
    stream = container.streams.audio[0]
    stream.thread_count = 1
    faults, frames = 0, 0
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                frames += 1
                yield frame
        except av.FFmpegError as error:
            faults += 1
            if faults > _FAULTS or isinstance(error, MemoryError):
                break
    if not frames:
        raise UploadError("the file holds no audio that can be decoded")


def _samples(frames: Iterator[Any]) -> Iterator[bytes]:
    """16-bit samples at 16 kHz, also where rate, format or channels change on the way."""
    resampler: AudioResampler | None = None
    form: tuple[Any, ...] = ()
    for frame in frames:
        frame.pts = None  # gaps and leaps of a damaged file's clock are not ours to fill
        now = (frame.sample_rate, frame.format.name, frame.layout.name)
        if resampler is None or now != form:
            if resampler is not None:
                yield from map(_bytes, resampler.resample(None))
            resampler, form = AudioResampler("s16", "mono", RATE), now
        yield from map(_bytes, resampler.resample(frame))
    if resampler is not None:
        yield from map(_bytes, resampler.resample(None))


def _bytes(frame: Any) -> bytes:  # noqa: ANN401  # PyAV's
    return bytes(memoryview(frame.planes[0])[: frame.samples * 2])


def _all_frames(max_seconds: float) -> Iterator[Any]:
    name, parts = _parts()
    for window in parts:
        with _opened(name, window) as container:
            # What it says of its length is a claim: worth believing when it is too long, and counted in any case.
            if (container.duration or 0) > (max_seconds + 1) * av.time_base:
                raise _too_long(max_seconds)
            yield from _frames(container)


def _decode(max_seconds: float) -> None:
    left = round(max_seconds * RATE) * 2
    pending = bytearray()
    for piece in _samples(_all_frames(max_seconds)):
        left -= len(piece)
        if left < 0:
            raise _too_long(max_seconds)
        pending += piece
        while len(pending) >= _PIECE_BYTES:
            _write_frame(b"A", bytes(pending[:_PIECE_BYTES]))
            del pending[:_PIECE_BYTES]
    if pending:
        _write_frame(b"A", bytes(pending))


def _too_long(seconds: float) -> UploadError:
    most = f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds:g} seconds"
    return UploadError(f"the file holds more than {most} of audio; send it in parts")


def main() -> None:
    """Decode, or say why not."""
    max_seconds = float(sys.argv[1])
    _import_all()
    sandbox.shut_in()
    try:
        _decode(max_seconds)
    except UploadError as error:
        _write_frame(b"E", str(error).encode())
    except MemoryError:
        _write_frame(b"E", b"the file needs more memory than a file may")
    except Exception:  # noqa: BLE001  # a damaged file may raise anything, and its words could tell of this machine
        _write_frame(b"E", b"the file is damaged: its audio cannot be decoded")
    else:
        _write_frame(b"Z")


if __name__ == "__main__":
    main()
