"""The pictures of docs and README, made from the code: `make pictures` runs `python -m tests.dashboard.pictures`.

What they show is made up (`tests/dashboard/scenes.py`), and each says so in its title.
"""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

from dashboard.app import DashApp
from dashboard.feeds import Still
from tests.dashboard.scenes import world

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"

PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "fleet": ((120, 24), ("down", "space")),
    "help": ((120, 44), ("question_mark",)),
}
"""Name, terminal size, and the keys that lead there."""


async def drawn(name: str) -> str:
    """One picture as SVG."""
    size, keys = PICTURES[name]
    app = DashApp(Still(world()))
    async with app.run_test(size=size) as pilot:
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        return without_fonts(app.export_screenshot(title=f"whisper-ops dash · {name} · a made-up fleet"))


def without_fonts(svg: str) -> str:
    """Leave out fonts from elsewhere: a picture in a repository asks no other host for anything."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Write them all."""
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
