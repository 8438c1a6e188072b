"""The one list of what the dashboard can do. Bindings, footer, `?` help, palette, `:` prompt and docs all read it."""

from typing import Literal

import msgspec

Group = Literal["look", "move", "replay", "act", "tool"]

GROUPS: dict[Group, str] = {
    "look": "Look at",
    "move": "Move and narrow down",
    "replay": "Go through the past",
    "act": "Change a server",
    "tool": "The dashboard itself",
}


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be done, by key, by name or with the mouse."""

    name: str
    """What `:` and the palette call it."""
    keys: tuple[str, ...] = ()
    """Keys as textual names them; the first is the one that is shown."""
    help: str
    group: Group
    argument: str | None = None
    """What may follow the name after `:`; in brackets when it may be left out."""
    footer: str | None = None
    """Its word in the footer; None leaves it out there."""
    pages: tuple[str, ...] = ()
    """The pages on which it works; empty: everywhere."""
    replaying: bool = False
    """Whether it is about a moment of the past, and so only there in a replay."""

    def works_on(self, page: str, *, replaying: bool = True) -> bool:
        """Whether it can be used on that page, now."""
        return (not self.pages or page in self.pages) and (replaying or not self.replaying)


CHARTED = ("server", "gpu")
"""The pages that have charts."""

COMMANDS: tuple[Command, ...] = (
    Command(name="fleet", keys=("1",), group="look", help="The fleet: a row a server."),
    Command(name="alerts", keys=("2", "a"), group="look", footer="alerts", help="Alerts that stand, and past ones."),
    Command(
        name="plan", keys=("3",), group="look", footer="plan",
        help="The safe limit, why it is that, what breaks first, and what if a server is lost.",
    ),
    Command(name="busiest", keys=("b",), group="look", footer="busiest", help="The GPU whose engine is busiest."),
    Command(name="events", keys=("4",), group="look", help="What happened, newest first."),
    Command(
        name="members", keys=("6", "m"), group="look",
        help="The servers behind a broker: who has room, who is full, drains or is lost.",
    ),
    Command(
        name="longer", keys=("right_square_bracket",), group="look", pages=CHARTED, help="ChartData look further back."
    ),
    Command(
        name="shorter", keys=("left_square_bracket",), group="look", pages=CHARTED, help="ChartData look less far back."
    ),
    Command(
        name="span", group="look", argument="6 h", pages=CHARTED, help="How far back charts look: 5 min to 90 d."
    ),
    Command(
        name="earlier", keys=("comma",), group="look", pages=CHARTED,
        help="The time cursor of all charts one step back.",
    ),
    Command(name="later", keys=("full_stop",), group="look", pages=CHARTED, help="The time cursor one step on."),
    Command(
        name="filter", keys=("slash",), group="move", argument="[lag>1 & gpu~h100]", footer="filter", pages=("fleet",),
        help="Show only what meets a filter.",
    ),
    Command(name="open", keys=("enter", "l", "right"), group="move", footer="open", help="Open what the cursor is on."),
    Command(name="back", keys=("escape", "h", "left"), group="move", help="Back to where you came from."),
    Command(name="down", keys=("j", "down"), group="move", help="To the next row."),
    Command(name="up", keys=("k", "up"), group="move", help="To the row before."),
    Command(name="ahead", keys=("pagedown", "ctrl+d"), group="move", help="A screenful down."),
    Command(name="behind", keys=("pageup", "ctrl+u"), group="move", help="A screenful up."),
    Command(name="top", keys=("g", "home"), group="move", help="To the first row."),
    Command(name="bottom", keys=("G", "end"), group="move", help="To the last row."),
    Command(name="fold", keys=("space",), group="move", pages=("fleet",), help="Show or hide the GPUs of a server."),
    Command(name="unfold", keys=("e",), group="move", pages=("fleet",), help="Show or hide the GPUs of all servers."),
    Command(
        name="sort", keys=("o",), group="move", argument="[lag]", pages=("fleet",),
        help="Sort by the next column, or by the one that is named.",
    ),
    Command(
        name="replay", keys=("R",), group="replay", argument="[yesterday 14:00]", footer="replay",
        help="Show the past on these screens (enter: an hour ago); recording goes on meanwhile.",
    ),
    Command(name="live", keys=("L",), group="replay", replaying=True, footer="live", help="Back to the present."),
    Command(name="forward", keys=("greater_than_sign",), group="replay", replaying=True, argument="[10 s]",
            footer="step", help="On by ten seconds, or by what is said."),
    Command(name="rewind", keys=("less_than_sign",), group="replay", replaying=True, argument="[10 s]",
            help="Back by ten seconds, or by what is said."),
    Command(name="next", keys=("n",), group="replay", replaying=True, footer="next alert",
            help="To the beginning of the next alert."),
    Command(name="previous", keys=("N",), group="replay", replaying=True,
            help="To the beginning of the alert before."),
    Command(
        name="drain", group="act",
        help="Let no new stream in (behind a broker: into the member under the cursor). Needs the admin token.",
    ),
    Command(name="undrain", group="act", help="Let new streams in again. Needs the admin token."),
    Command(
        name="limit", group="act", argument="18", help="How many streams each GPU admits. Needs the admin token."
    ),
    Command(
        name="sweep", group="act", argument="[5,10,20 [30 s]]",
        help="Measure the server with speaking clients, so many at a time, and watch it.",
    ),
    Command(name="check", group="act", help="Fill the server to its last slot, and say what is right and what is not."),
    Command(name="running", keys=("5",), group="act", help="The sweep or check that runs, or ran last."),
    Command(name="stop", keys=("x",), group="act", pages=("running",), footer="stop", help="End this command."),
    Command(
        name="pause", keys=("p",), group="tool", footer="pause",
        help="Hold the picture, or let it go on; polling and recording never stop.",
    ),
    Command(name="faster", keys=("plus", "equals_sign"), group="tool", help="Poll more often; replay faster."),
    Command(name="slower", keys=("minus",), group="tool", help="Poll less often; replay slower."),
    Command(name="picture", keys=("s",), group="tool", footer="picture", help="Save a picture of the screen (SVG)."),
    Command(name="copy", keys=("y",), group="tool", help="Copy the row under the cursor."),
    Command(
        name="theme", keys=("T",), group="tool", argument="[light]", help="The next theme, or the one that is named."
    ),
    Command(name="help", keys=("question_mark", "f1"), group="tool", footer="help", help="Show this help."),
    Command(name="words", keys=("w",), group="tool", help="What the words of these screens mean, a line each."),
    Command(name="command", keys=("colon",), group="tool", footer="command", help="Type a command."),
    Command(name="palette", keys=("ctrl+p",), group="tool", help="Find a command by a part of its name."),
    Command(
        name="quit", keys=("q",), group="tool", footer="quit",
        help="Leave; polling and recording end. In the help: close it.",
    ),
    Command(name="leave", keys=("ctrl+c",), group="tool", help="Leave, whatever is open or asked."),
)  # fmt: skip

_GLYPHS = {
    "question_mark": "?", "colon": ":", "slash": "/", "plus": "+", "minus": "-", "equals_sign": "=",
    "left_square_bracket": "[", "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">",
    "full_stop": ".", "comma": ",", "escape": "esc", "left": "←", "right": "→", "up": "↑", "down": "↓",
    "pageup": "pgup", "pagedown": "pgdn", "left_curly_bracket": "{", "right_curly_bracket": "}",
}  # fmt: skip


def shown(key: str) -> str:
    """A key as people write it: `?`, `^p`, `enter`."""
    return _GLYPHS.get(key, f"^{key[5:]}" if key.startswith("ctrl+") else key)


def named(name: str) -> Command | None:
    """The command of that name, or the only one that begins with it."""
    exact = [command for command in COMMANDS if command.name == name]
    starting = [command for command in COMMANDS if name and command.name.startswith(name)]
    return exact[0] if exact else starting[0] if len(starting) == 1 else None
