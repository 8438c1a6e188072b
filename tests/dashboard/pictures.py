"""The pictures of docs and README, and the tables of docs/dashboard.md, made from the code by `make pictures`.

What they show is made up (`tests/dashboard/scenes.py`), and each says so in its title.
"""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

from dashboard.tui.app import DashApp
from dashboard.tui.commands.registry import COMMANDS
from dashboard.tui.pages.command import key_text
from dashboard.tui.pages.filter_fields import FACTS
from tests.dashboard.scenes import MadeCharts, Still, fleet_behind_brokers, world

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"

PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "fleet": ((120, 24), ("down", "space")),
    "server": ((120, 36), ("down", "enter", "comma", "comma", "comma")),
    "gpu": ((120, 32), ("down", "space", "down", "down", "down", "up", "enter")),
    "alerts": ((120, 14), ("2",)),
    "events": ((120, 10), ("4",)),
    "plan": ((120, 24), ("down", "3")),
    "members": ((120, 32), ("6",)),
    "help": ((120, 74), ("question_mark",)),
}
"""Name, terminal size, and the keys that lead there."""


async def drawn(name: str) -> str:
    """One picture as SVG."""
    size, keys = PICTURES[name]
    app = DashApp(Still(fleet_behind_brokers() if name == "members" else world(), MadeCharts()))
    async with app.run_test(size=size) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.pause()
        return without_fonts(app.export_screenshot(title=f"whisper-ops dash · {name} · a made-up fleet"))


def without_fonts(svg: str) -> str:
    """Leave out fonts from elsewhere: a picture in a repository asks no other host for anything."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


DOC = FOLDER.parent / "dashboard.md"


def key_table() -> str:
    """The registry as the table of docs/dashboard.md."""
    lines = ["| keys | command | what it does |", "|---|---|---|"]
    for command in COMMANDS:
        keys = " ".join(f"`{key_text(key)}`" for key in command.keys)
        name = f":{command.name} {command.argument or ''}".rstrip().replace("|", "\\|")
        where = f" ({', '.join(command.pages)})" if command.pages else ""
        lines.append(f"| {keys} | `{name}` | {command.help}{' In a replay.' if command.replaying else ''}{where} |")
    return "\n".join(lines)


def fact_table() -> str:
    """The words of sorting and filtering as the table of docs/dashboard.md."""
    return "\n".join(["| word | is |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in FACTS.items())])


def with_tables(text: str) -> str:
    """The page about the dashboard, its tables as the code has them."""
    for name, table in (("keys", key_table()), ("facts", fact_table())):
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


def main() -> None:
    """Write them all."""
    DOC.write_text(with_tables(DOC.read_text("utf-8")), "utf-8")
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ.pop("NO_COLOR", None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        path = FOLDER / f"{name}.svg"
        path.write_text(asyncio.run(drawn(name)), "utf-8")
        sys.stderr.write(f"wrote {path.relative_to(FOLDER.parents[1])}\n")


if __name__ == "__main__":
    main()
