"""The pictures of the README, from a real run: `make recording`.

A real server with simulated GPUs, a real load test, its plan, and then the dashboard that polls the server while the
load test runs again and fills the gauge. Each picture says that the GPUs are simulated. What moves is one SVG file
without a script: a frame a second of what the screen showed, shown one after the other.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dashboard.alerts import load_rules
from dashboard.app import DashApp
from dashboard.feeds import Live
from dashboard.settings import load
from dashboard.writer import HistoryWriter
from tests.dashboard.pictures import FOLDER, without_fonts
from tests.support.servers import running_server

SERVE = (
    *("--engine", "simulated", "--devices", "sim:2", "--sim-law", "a=0.075,b=0.04", "--max-batch", "8"),
    *("--max-connections-per-gpu", "24"),
)
LEVELS = "1,8,16,24,32"
FRAMES, FRAME_SECONDS = 20, 1.0
FLEET, PLAN = (110, 14), (110, 26)
TITLE = "whisper-ops dash · a real run on 2 simulated GPUs"


def main() -> None:
    """Run it all, about three minutes, and write the pictures."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory() as name, running_server(Path(name), *SERVE) as server:
        history = Path(name) / "history.db"
        _run("sweep", server.url, *_sweep(history, 6))
        _run("plan", "--history", str(history))
        # The server's percentiles are of its last minute, and that was the load test.
        server.wait_until("/performance", lambda said: said["latency"]["lag_p95_s"] is None, 90)
        pictures = asyncio.run(_recorded(server.url, history))
    for picture, svg in pictures.items():
        path = FOLDER / f"{picture}.svg"
        path.write_text(svg, "utf-8")
        sys.stderr.write(f"wrote {path.relative_to(FOLDER.parents[1])}, {len(svg) / 1000:.0f} kB\n")


def _sweep(history: Path, seconds: int) -> tuple[str, ...]:
    # The GPUs are simulated: what else this machine does takes nothing from them.
    return ("--levels", LEVELS, "--duration", f"{seconds}s", "--history", str(history), "--max-other-load", "100")


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "whisper_ops", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):  # 1: it ran, and a level missed its objective
        sys.exit(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")


async def _recorded(url: str, history: Path) -> dict[str, str]:
    watch = load((f"asr-1={url}",), interval=0.5)
    with HistoryWriter(history, command="make recording") as writer:
        app = DashApp(Live(watch.fleet(), writer, history, load_rules(None)), history=history)
        async with app.run_test(size=FLEET) as pilot:
            await pilot.pause(3)
            swept = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "whisper_ops", "sweep", url, *_sweep(history.with_name("again.db"), 6)),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            frames = list[str]()
            while swept.returncode is None:
                await asyncio.sleep(FRAME_SECONDS)
                frames.append(_shot(app, "a load test fills it"))
            picked = [frames[round(i * (len(frames) - 1) / (FRAMES - 1))] for i in range(FRAMES)]
            await pilot.press("down", "3")
            await pilot.resize_terminal(*PLAN)
            await pilot.pause(2)
            plan = _shot(app, "the plan")
    return {"run-plan": plan, "run-sweep": animated(picked)}


def _shot(app: DashApp, what: str) -> str:
    return without_fonts(app.export_screenshot(title=f"{TITLE} · {what}"))


def animated(frames: list[str]) -> str:
    """One SVG of frames that are shown in turn, a second each, again and again."""
    total = len(frames) * FRAME_SECONDS
    share = 100 / len(frames)
    head = re.match(r"<svg[^>]*>", frames[0])
    assert head is not None
    style = (
        f".frame {{ visibility: hidden; animation: shown {total:g}s step-end infinite; }}\n"
        f"@keyframes shown {{ 0% {{ visibility: visible }} {share:g}% {{ visibility: hidden }} }}\n"
        "@media (prefers-reduced-motion: reduce) {\n"
        "  .frame { animation: none } .frame:last-of-type { visibility: visible }\n}"
    )
    parts = []
    for number, frame in enumerate(frames):
        inner = frame[frame.index(">") + 1 : frame.rindex("</svg>")]
        # Each frame names its own colours and clips; in one file no two may have a name.
        inner = re.sub(r"terminal-\d+", f"frame-{number}", inner)
        delay = number * FRAME_SECONDS
        parts.append(f'<g class="frame" style="animation-delay: {delay - total:g}s">{inner}</g>')
    return f"{head[0]}<style>{style}</style>{''.join(parts)}</svg>\n"


if __name__ == "__main__":
    main()
