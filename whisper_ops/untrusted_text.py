"""Text from outside, cleaned once where it comes in, so that no screen or file has to.

A server, an exporter, a client, a file or a driver may say anything: sequences that take over a terminal, letters that
run backwards, line breaks that begin a command of their own, or a megabyte. What is left here is one line of text that
can be printed. It is still text of others: each writer escapes what its own language (markup, HTML, YAML, a formula)
would read in it.
"""

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec

NAME_LIMIT = 200
"""Characters of a name: of a GPU, a model, a host."""
SENTENCE_LIMIT = 1000
REPLACEMENT = "�"
_JOINERS = "\u200c\u200d"
"""Invisible, harmless, and letters of their own to Persian and the Indic scripts."""
_SPACES = "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_SPACED = str.maketrans(dict.fromkeys(_SPACES, " "))


def name(text: str) -> str:
    """A name as it can be shown and stored: one line, printable, of bounded length."""
    return one_line(text, NAME_LIMIT)


def one_line(text: str, limit: int | None = None) -> str:
    """Text without control characters, format characters (which turn the direction of what follows) and line breaks."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    # Of all that is not printable, plain spaces are the one thing a text needs.
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text.translate(_SPACED))


def printable(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return text if text.isprintable() else "\n".join(one_line(line) for line in text.split("\n"))


def cleaned(struct: "msgspec.Struct", limit: int | None = None) -> None:
    """Clean every text of a struct that is just being made: call it in `__post_init__`, of a frozen one too."""
    for field in _texts(type(struct)):
        text = getattr(struct, field)
        if text is not None and not (text.isprintable() and (limit is None or len(text) <= limit)):
            from msgspec.structs import force_setattr  # noqa: PLC0415  # `--help` prints words and has no struct

            force_setattr(struct, field, one_line(text, limit))


@cache
def _texts(kind: "type[msgspec.Struct]") -> tuple[str, ...]:
    from msgspec.structs import fields  # noqa: PLC0415  # as above

    return tuple(field.name for field in fields(kind) if field.type in (str, str | None))


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if unicodedata.category(character) == "Zs" else REPLACEMENT
