"""What clients send, read strictly: JSON and query parameters become values, or a sentence that says what is wrong."""

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request

T = TypeVar("T")

_MOST_BYTES = 64 << 10
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class UnreadableError(ValueError):
    """What a client sent is not what is asked for. `malformed`: not even JSON; `param`: the field, if it is one."""

    def __init__(self, message: str, *, malformed: bool = False, param: str | None = None) -> None:
        super().__init__(message)
        self.malformed, self.param = malformed, param


def read_json(data: bytes | str, kind: type[T]) -> T:
    """JSON of a type.

    Raises:
        UnreadableError: it is none, nested too deeply, or of another shape.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
        raise UnreadableError(str(error).replace("$.", ""), param=path[1] or None if path else None) from error
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply", malformed=True) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableError(str(error), malformed=True) from error


def check_names(query: QueryParams, known: Collection[str]) -> None:
    """Let only known parameters through, each once.

    Raises:
        UnreadableError: there is another one, which would not be honoured.
    """
    seen: set[str] = set()
    for name, _ in query.multi_items():
        if name not in known:
            raise UnreadableError(f"unknown parameter {name[:64]!r}; known are {', '.join(sorted(known))}", param=name)
        if name in seen:
            raise UnreadableError(f"the parameter {name} is given twice", param=name)
        seen.add(name)


def flag(text: str, name: str) -> bool:
    """True or false, as people write it.

    Raises:
        UnreadableError: it is neither.
    """
    value = _FLAGS.get(text.lower())
    if value is None:
        raise UnreadableError(f"{name} {text[:64]!r} is neither true nor false", param=name)
    return value


def whole(text: str, name: str) -> int:
    """A whole number that fits into 64 bits.

    Raises:
        UnreadableError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise UnreadableError(f"{name} {text[:64]!r} is not a whole number", param=name)
    return int(text)


async def small_body(request: Request) -> bytes:
    """All of a body; of one that is too long, enough to see that it is none.

    Raises:
        UnreadableError: it has more than 64 KiB.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise UnreadableError(f"it has more than {_MOST_BYTES} bytes")
    return bytes(body)
