"""The weights in an ONNX file. The `onnx` package would be 18 MB for this: four fields of Protocol Buffers are read."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9
_FLOAT = 1


def read_weights(data: bytes) -> dict[str, Floats]:
    """The float tensors of an ONNX file, by name.

    Raises:
        ValueError: it is no such file.
    """
    fields = {}
    for number, graph in _fields(memoryview(data)):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for field, tensor in _fields(graph):
            if field == _INITIALIZER and not isinstance(tensor, int):
                name, value = _tensor(tensor)
                if value is not None:
                    fields[name] = value
    return fields


def _tensor(data: memoryview) -> tuple[str, Floats | None]:
    sizes: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for number, value in _fields(data):
        if isinstance(value, int):
            sizes += [value] if number == _DIMS else []
            kind = value if number == _TYPE else kind
        elif number == _DIMS:
            sizes += _packed(value)
        elif number == _NAME:
            name = bytes(value).decode()
        elif number == _RAW:
            raw = value
    return name, np.frombuffer(raw, "<f4").reshape(sizes) if kind == _FLOAT and len(raw) else None


def _packed(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _fields(data: memoryview) -> list[tuple[int, "memoryview | int"]]:
    """A message's fields in order: its number, and its bytes or its whole number."""
    fields: list[tuple[int, memoryview | int]] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            fields.append((number, value))
            continue
        size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), at)
        if size < 0 or at + size > len(data):
            raise ValueError("it is no ONNX file")
        fields.append((number, data[at : at + size]))
        at += size
    return fields


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it is no ONNX file")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
