"""`model.bin` of CTranslate2, version 6: a plain list of named tensors. Read without torch and without CTranslate2.

Version, specification, its revision, a count; for each tensor its name, rank, shape, type and bytes; then aliases.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from server.engines.engine import UnfitError

TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_BYTES = (4, 1, 2, 4, 2, 2)
_VERSION, _SPEC, _REVISION = 6, "WhisperSpec", 3
_MOST_TENSORS, _HIGHEST_RANK = 100_000, 8


class ModelFileError(UnfitError):
    """The model cannot be used; the message is for people."""


class TensorEntry(NamedTuple):
    """A tensor's place in the file."""

    shape: tuple[int, ...]
    type: str
    offset: int
    size: int
    """In bytes."""


def read_entries(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a `model.bin`, by name, with aliases.

    Raises:
        ModelFileError: another format or version, incomplete, or quantized.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        try:
            entries = _read(file, total)
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise ModelFileError(f"{path.name} is no complete CTranslate2 model; fetch or convert it again") from error
    quantized = sorted({entry.type for entry in entries.values() if entry.shape and entry.type.startswith("int")})
    if quantized:
        raise ModelFileError(
            f"{path.name} holds {quantized[0]} weights, which --engine torch cannot use; "
            "name a float16 or float32 model, or serve this one with --engine ctranslate2"
        )
    return entries


def _read(file: BinaryIO, total: int) -> dict[str, TensorEntry]:
    version, spec, revision, count = _number(file), _name(file), _number(file), _number(file)
    if (version, spec, revision) != (_VERSION, _SPEC, _REVISION):
        raise ModelFileError(
            f"model.bin is {spec} revision {revision} in format {version}; --engine torch reads {_SPEC} revision "
            f"{_REVISION} in format {_VERSION}: convert the model again with ctranslate2 4"
        )
    if count > _MOST_TENSORS:
        raise IndexError(count)
    entries = dict(_entry(file, total) for _ in range(count))
    for _ in range(min(_number(file), _MOST_TENSORS)):
        alias, name = _name(file), _name(file)
        if name not in entries:
            raise IndexError(name)
        entries[alias] = entries[name]
    return entries


def _entry(file: BinaryIO, total: int) -> tuple[str, TensorEntry]:
    name, rank = _name(file), file.read(1)[0]
    if rank > _HIGHEST_RANK:
        raise IndexError(rank)
    shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
    kind, size, offset = file.read(1)[0], _number(file), file.tell()
    elements = 1
    for length in shape:
        elements *= length
    if elements * _BYTES[kind] != size or offset + size > total:
        raise IndexError(name)
    file.seek(size, os.SEEK_CUR)
    return name, TensorEntry(shape, TYPES[kind], offset, size)


def _number(file: BinaryIO) -> int:
    return int(struct.unpack("<I", file.read(4))[0])


def _name(file: BinaryIO) -> str:
    (length,) = struct.unpack("<H", file.read(2))
    raw = file.read(length)
    if len(raw) != length or not raw.endswith(b"\0"):
        raise IndexError(length)
    return raw[:-1].decode()
