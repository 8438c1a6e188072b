"""A command: its name, its keys, what help says of it, and the function that runs it. `commands.registry` lists all."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

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
    run: Callable[[Any, str], None]
    """Its handler: gets the `AppContext` and what was typed behind the name. It raises UserError for a mistake."""
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


_KEY_SIGNS = {
    "question_mark": "?", "colon": ":", "slash": "/", "plus": "+", "minus": "-", "equals_sign": "=",
    "left_square_bracket": "[", "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">",
    "full_stop": ".", "comma": ",", "escape": "esc", "left": "←", "right": "→", "up": "↑", "down": "↓",
    "pageup": "pgup", "pagedown": "pgdn", "left_curly_bracket": "{", "right_curly_bracket": "}",
}  # fmt: skip


def key_text(key: str) -> str:
    """A key as people write it: `?`, `^p`, `enter`."""
    return _KEY_SIGNS.get(key, f"^{key[5:]}" if key.startswith("ctrl+") else key)


def command_named(commands: Iterable[Command], name: str) -> Command | None:
    """The command of that name, or the only one that begins with it."""
    starting = [command for command in commands if name and command.name.startswith(name)]
    exact = [command for command in starting if command.name == name]
    return exact[0] if exact else starting[0] if len(starting) == 1 else None
