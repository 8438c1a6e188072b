"""Where output goes: data to stdout, narration to stderr, colour only on a terminal.

rich honours NO_COLOR and a stream that is not a terminal by itself.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.segment import Segment

from whisper_ops.formatting import narrated
from whisper_ops.units import whole
from whisper_ops.untrusted_text import printable

_BEYOND_ASCII = re.compile(r"[^\n -~]")
WIDTH_VARIABLE = "WHISPER_OPS_WIDTH"
"""Set by a program that shows our output in so many columns of its own, as the dashboard does."""


CAPTION_VARIABLE = "WHISPER_OPS_CAPTION"
"""Names a file with a line that the dashboard shows under its title; set by a program that started it, as the demo."""


class PlainConsole(Console):
    """A console to which a string is text: never markup, never an emoji's name, never what a terminal obeys."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # rich's own
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        # The one place through which strings, texts, tables and pictures all pass; rich has no public one.
        return super()._render_buffer(
            segment if segment.control else segment._replace(text=printable(segment.text)) for segment in buffer
        )


@cache
def data() -> PlainConsole:
    """The console for results. Without a terminal, lines are as long as they need to be, so pipes get whole rows."""
    console = PlainConsole()
    width = os.environ.get(WIDTH_VARIABLE, "")
    return console if console.is_terminal else PlainConsole(width=whole(width, 10_000) or 200)


def table_width(console: Console) -> int:
    """How wide a table may be whose cells may break into lines: COLUMNS counts in a pipe too."""
    asked = os.environ.get("COLUMNS", "")
    return min(console.width, whole(asked) or console.width)


@cache
def narration() -> PlainConsole:
    """The console for what is being done, and for what went wrong."""
    return PlainConsole(stderr=True)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Say on a terminal what is being done, while it is; where nobody watches, nothing."""
    console = narration()
    if not console.is_terminal:
        yield
        return
    with console.status(f"{what} …"):
        yield


def say(sentence: str) -> None:
    """A line of narration, in the width of a terminal; lost without an error when stderr is closed."""
    click.echo(narrated(sentence), err=True)


def print_json(schema: str, body: dict[str, Any]) -> None:
    """Print one versioned JSON document: `{"schema": "whisper-ops/NAME/1", …}`."""
    data().out(json_document(schema, body), highlight=False)


def json_document(schema: str, body: dict[str, Any]) -> str:
    """The document that `print_json` prints."""
    document = msgspec.json.encode({"schema": f"whisper-ops/{schema}/1", **body})
    return escaped_json(msgspec.json.format(document, indent=2).decode())


def escaped_json(document: str) -> str:
    """The same JSON, with what a terminal might obey written as an escape."""
    return _BEYOND_ASCII.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], document)
