"""JSON as servers of any make write it, read into one of our types; an impossible value is unknown, not an error."""

import json
import math
from typing import Any, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")


class NotJsonError(ValueError):
    """It is no JSON at all, or broken off."""


class OtherShapeError(ValueError):
    """It is JSON, but of something else."""


class Deviation(NamedTuple):
    """How a document departs from JSON or from its type, though it could be read."""

    kind: str
    words: str


def decode_strictly(body: bytes | str, kind: type[T], *, strict: bool = True) -> T:
    """As msgspec reads it; but what is nested too deeply is no JSON for us, like anything else that cannot be read.

    Raises:
        msgspec.DecodeError: it cannot be read, or is not a `kind`.
    """
    try:
        return msgspec.json.decode(body, type=kind, strict=strict)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error


def decode(body: bytes, kind: type[T]) -> tuple[T, Deviation | None]:
    """The value, and its deviation, if any: numbers as text, numbers beyond all bounds, NaN.

    Raises:
        NotJsonError: it cannot be read.
        OtherShapeError: it is not a `kind`; with its first difference.
    """
    try:
        return decode_strictly(body, kind), None
    except msgspec.DecodeError as error:
        first = str(error)
    try:
        text = Deviation("numbers as text", f"numbers as text, which were read as numbers: {first}")
        return decode_strictly(body, kind, strict=False), text
    except msgspec.DecodeError as error:
        last = error
    # Python's own reader takes NaN, Infinity and 1e999, which JSON has not and other software writes.
    try:
        loose = json.loads(body, parse_constant=lambda _: None, parse_float=_float, parse_int=_int)
        msgspec.json.encode(loose)  # half a surrogate pair is no text that could be stored or printed
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(last)) from error
    try:
        none = Deviation("numbers that are none", f"numbers that are none, which were taken as unknown: {first}")
        return msgspec.convert(loose, kind, strict=False), none
    except (msgspec.ValidationError, RecursionError) as error:
        raise OtherShapeError(str(error)) from error


def _float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _int(text: str) -> Any:  # noqa: ANN401  # a number, or none
    return int(text) if len(text) < 300 else None
