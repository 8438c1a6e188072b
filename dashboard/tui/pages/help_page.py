"""The help, from the commands; and the questions that bring people here, each with its keys."""

from collections.abc import Sequence

from dashboard.tui.pages.command import GROUPS, Command, key_text
from dashboard.tui.pages.styled_lines import BLANK, Line, Page, TextSpan, hanging, line, wrapped

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("Which GPU is busiest?", "b"),
    ("Why is a server red?", "the sentence under its row; enter for more, 2 for all alerts"),
    ("What was the lag an hour ago?", "R enter shows that hour's screens; enter on a server: its charts begin there"),
    ("How many connections are safe?", "3: the limit, its reason, and how sure that is"),
    ("How is that measured, and set?", ":sweep on a server, here"),
    ("What does a word mean?", "w: every word of these screens in a line"),
)

GLYPHS = (
    "● well  ▲ warning  ◆ critical or full  ✕ silent, lost or failed  ◌ stale  ◔ starting  ▽ draining  ○ not known yet"
)
GAUGE = "knee gauge: filled = connections now, │ = the safe limit of the plan, dots up to the most ever seen to pass"

_KEYS_WIDTH, _NAME_WIDTH = 15, 29


def help_page(commands: Sequence[Command], about: str, width: int) -> Page:
    """Everything that works on the page `about`."""
    body: list[Line] = [line(TextSpan(" Questions", "accent"))]
    for question, answer in QUESTIONS:
        body += hanging((TextSpan(question),), 33, answer, width)
    for group, title in GROUPS.items():
        here = [command for command in commands if command.group == group and command.works_on(about)]
        if here:
            body += [BLANK, line(TextSpan(f" {title}", "accent"))]
            body += [part for command in here for part in _command(command, width)]
    body += [BLANK, line(TextSpan(" Signs", "accent")), *wrapped(GLYPHS, width, "  "), *wrapped(GAUGE, width, "  ")]
    body += wrapped(
        "sparkline: the worst of each half minute, between 0 and the lag objective; · = no reading", width, "  "
    )
    return Page(crumbs=(about, "help"), body=tuple(body))


def _command(command: Command, width: int) -> list[Line]:
    keys = " ".join(key_text(key) for key in command.keys)
    name = f":{command.name} {command.argument or ''}".rstrip()
    if width < 70:
        return hanging((TextSpan(keys.ljust(_KEYS_WIDTH), "key"),), _KEYS_WIDTH + 2, command.help, width)
    pieces = (TextSpan(keys.ljust(_KEYS_WIDTH), "key"), TextSpan(name.ljust(_NAME_WIDTH), "dim"))
    return hanging(pieces, _KEYS_WIDTH + _NAME_WIDTH + 2, command.help, width)
