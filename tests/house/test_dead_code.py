"""Code that nothing in the product reads: it is found by vulture, and taken out or told here what calls it."""

import re
from pathlib import Path

import pytest

vulture = pytest.importorskip("vulture", reason="a development dependency")

ROOT = Path(__file__).parents[2]
ROOMS = ("whisper_ops", "server", "dashboard", "capacity")
CALLED_BY_NAME = (
    (r"action_\w+", "bindings of the dashboard"),
    (r"on_\w+|watch_\w+|compose|render_line|discover|get_default_screen", "textual"),
    (r"render_segments|run_input_thread", "textual's strips and drivers"),
    (r"m\d{3}_\w+", "migrations of the history"),
    (r"list_commands|get_command|format_commands|vacuum", "click"),
    (r"__getattr__", "Python, for a name that a package imports when it is asked for"),
    (r"handle_exit|on_tick|startup|shutdown", "uvicorn"),
    (r"is_empty|x_marks", "templates of capacity/reports"),
    (r"TITLE|NOTIFICATION_TIMEOUT|COMMAND_PALETTE_BINDING|CSS|DEFAULT_CSS|BINDINGS|COMPONENT_CLASSES", "textual"),
)


def test_nothing_is_defined_that_nothing_reads() -> None:
    found = vulture.Vulture(ignore_decorators=["@*.get", "@*.post", "@*.put", "@*.delete", "@*.command", "@*.group"])
    # What makes the pages of docs/ reads the product as well.
    found.scavenge([str(ROOT / room) for room in (*ROOMS, "docs")])
    names = re.compile("|".join(f"(?:{pattern})" for pattern, _ in CALLED_BY_NAME))
    dead = [
        f"{item.filename.relative_to(ROOT)}:{item.first_lineno}: {item.typ} {item.name}"
        for item in found.get_unused_code(min_confidence=60)
        # Fields and attributes are read by their names in a table, a document or another library.
        if not (item.typ == "attribute" or (item.typ == "variable" and not item.name.isupper()))
        and not names.fullmatch(item.name)
    ]
    assert not dead, "take it out; what only tests read belongs to the tests"
