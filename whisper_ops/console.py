"""Where output goes: data to stdout, narration to stderr, colour only where somebody can see it.

rich honours NO_COLOR and a stream that is not a terminal by itself.
"""

import os
from functools import cache
from typing import Any

import msgspec
from rich.console import Console

WIDTH_VARIABLE = "WHISPER_OPS_WIDTH"
"""Set by a program that shows our output in so many columns of its own, as the dashboard does."""


@cache
def data() -> Console:
    """The console for results. Without a terminal, lines are as long as they need to be, so pipes get whole rows."""
    console = Console(highlight=False)
    width = os.environ.get(WIDTH_VARIABLE, "")
    return console if console.is_terminal else Console(highlight=False, width=int(width) if width.isdigit() else 200)


def table_width(console: Console) -> int:
    """How wide a table may be whose cells may break into lines: COLUMNS counts in a pipe too."""
    asked = os.environ.get("COLUMNS", "")
    return min(console.width, int(asked)) if asked.isdigit() and int(asked) > 0 else console.width


@cache
def narration() -> Console:
    """The console for what is being done, and for what went wrong."""
    return Console(stderr=True, highlight=False)


def print_json(schema: str, body: dict[str, Any]) -> None:
    """Print one versioned JSON document: `{"schema": "whisper-ops/NAME/1", …}`."""
    data().out(json_document(schema, body), highlight=False)


def json_document(schema: str, body: dict[str, Any]) -> str:
    """The document that `print_json` prints."""
    document = msgspec.json.encode({"schema": f"whisper-ops/{schema}/1", **body})
    return msgspec.json.format(document, indent=2).decode()
