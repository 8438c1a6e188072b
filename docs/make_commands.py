"""Write docs/commands.md from the commands themselves; `--check` only says whether it is current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from whisper_ops.cli import COMMANDS, main

PAGE = Path(__file__).with_name("commands.md")
INTRODUCTION = """\
# Commands

Made by `make docs` from the commands' own help; do not edit it here.

Results go to stdout, messages to stderr. Exit codes: 0 good; 1 it ran and the answer is no; 2 wrong usage or
configuration; 3 a server could not be reached; 4 not enough evidence; 130 interrupted. Commands that print a table have
`--json`, with a versioned `schema` field. Colour is off with `NO_COLOR` and without a terminal.
"""


def page() -> str:
    root = click.Context(main, info_name="whisper-ops")
    sections = [section for name in COMMANDS for section in _sections(name, root)]
    return "\n".join([INTRODUCTION, *sections])


def _sections(name: str, parent: click.Context) -> Iterator[str]:
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _sections(inner, context)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/commands.md is out of date: run `make docs`")
