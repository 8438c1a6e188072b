"""The pictures of the README and of docs/server.md, from real runs: `make recording`.

A real server with simulated GPUs, a real load test with levels long enough to count, its plan, and then the dashboard
that polls the server while the load test runs again, with short levels, and fills the gauge. Each picture says that the
GPUs are simulated. What moves is one SVG file without a script: a frame a second of what the screen showed, one after
the other. The page in the browser is another run: a real model that hears the sample.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dashboard.alerts import load_rules
from dashboard.config import load
from dashboard.history.history_writer import HistoryWriter
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from tests.dashboard.pictures import FOLDER, without_fonts
from tests.support.browser import asking_browser
from tests.support.servers import Running, running_server
from whisper_ops import speech_synthesis

SERVE = (
    *("--engine", "simulated", "--devices", "sim:2", "--sim-law", "a=0.075,b=0.04", "--max-batch", "8"),
    *("--max-connections-per-gpu", "24"),
)
PLANNED, FILLING = ("8,16,24,32", 60), ("4,12,20,28,40", 4)
"""Levels, and the seconds of each: those that the plan rests on, and those that are filmed."""
BESIDE_SECONDS = 12
QUIET_SECONDS = 90
FRAMES, FRAME_SECONDS = 20, 1.0
FLEET, PLAN, PAGE = (110, 12), (110, 33), (760, 820)
TITLE = "whisper-ops dash · a real run on 2 simulated GPUs"


def main() -> None:
    """Run it all, about eight minutes, and write the pictures."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory() as name, running_server(Path(name), *SERVE) as server:
        history = Path(name) / "history.db"
        _run("sweep", server.url, *_sweep(history, *PLANNED))
        _run("plan", "--history", str(history))
        pictures = asyncio.run(_recorded(server, history))
    for picture, svg in pictures.items():
        _write(f"{picture}.svg", svg.encode())
    if speech_synthesis.missing() or not shutil.which("chromium"):
        sys.stderr.write("page.png stays as it is: it needs the [speech] extra and chromium\n")
    else:
        _write("page.png", asyncio.run(_page()))


def _write(name: str, picture: bytes) -> None:
    (FOLDER / name).write_bytes(picture)
    sys.stderr.write(f"wrote docs/pictures/{name}, {len(picture) / 1000:.0f} kB\n")


def _sweep(history: Path, levels: str, seconds: int) -> tuple[str, ...]:
    # The GPUs are simulated: what else this machine does takes nothing from them.
    return ("--levels", levels, "--duration", f"{seconds}s", "--history", str(history), "--max-other-load", "100")


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "whisper_ops", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):  # 1: it ran, and a level missed its objective
        sys.exit(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")


async def _recorded(server: Running, history: Path) -> dict[str, str]:
    watch = load((f"asr-1={server.url}",), interval=0.5)
    await _quiet(server)
    with HistoryWriter(history, command="make recording") as writer:
        app = DashApp(LiveFeed(watch.fleet(), writer, history, load_rules(None)), history=history)
        async with app.run_test(size=FLEET) as pilot:
            await pilot.pause(3)
            await pilot.press("e")
            filling = await _started(server.url, history, *FILLING)
            frames = list[tuple[int, str]]()
            while filling.returncode is None:
                await asyncio.sleep(FRAME_SECONDS)
                frames.append((_connected(app), _shot(app, "a load test fills it")))
            sweep = animated(_picked(frames))

            # The plan beside the load that it allows: what the laws expect then, and what is seen.
            await _quiet(server)
            beside = await _started(server.url, history, str(_safe(app)), BESIDE_SECONDS)
            await pilot.press("e", "down", "3")
            await pilot.resize_terminal(*PLAN)
            while beside.returncode is None and _connected(app) < _safe(app):  # noqa: ASYNC110  # a figure, no event
                await asyncio.sleep(0.2)
            await pilot.pause(BESIDE_SECONDS * 0.7)
            plan = _shot(app, "the plan")
            await beside.wait()
    return {"run-plan": plan, "run-sweep": sweep}


async def _quiet(server: Running) -> None:
    """Until the server's percentiles, which are of its last minute, are no more of the load before."""
    await asyncio.to_thread(
        server.wait_until, "/performance", lambda said: said["latency"]["lag_p95_s"] is None, QUIET_SECONDS
    )


async def _started(url: str, history: Path, levels: str, seconds: int) -> asyncio.subprocess.Process:
    told = _sweep(history.with_name("again.db"), levels, seconds)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "whisper_ops", "sweep", url, *told),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


def _connected(app: DashApp) -> int:
    (server,) = app.feeds.shown.world().servers
    said = server.answer.figures if server.answer else None
    return 0 if said is None else said.streams_active or 0


def _safe(app: DashApp) -> int:
    (server,) = app.feeds.shown.world().servers
    assert server.planned is not None, "the plan names a limit"
    return server.planned.safe


def _picked(frames: list[tuple[int, str]]) -> list[str]:
    """As many as are shown, from just before the first stream came to the last moment with the most of them."""
    first = next(number for number, (streams, _) in enumerate(frames) if streams)
    most = max(streams for streams, _ in frames)
    last = max(number for number, (streams, _) in enumerate(frames) if streams == most)
    kept = [svg for _, svg in frames[max(0, first - 1) : last + 1]]
    return [kept[round(i * (len(kept) - 1) / (FRAMES - 1))] for i in range(FRAMES)]


async def _page() -> bytes:
    """The page in a browser, when it has played the sample to a real model."""
    with tempfile.TemporaryDirectory() as name, running_server(Path(name), "--devices", "cpu") as server:
        async with asking_browser(Path(name), f"{server.url}/", Path("/dev/null")) as page:
            await page.look(*PAGE)
            await page.click("#sample")
            await page.until_text("#state", "Playing")
            await page.until_text("#state", "Done.")
            await page.until_text("#used", "0 of")
            await page.value("JSON.stringify((document.querySelector('#said').open = true) && 1)")
            await asyncio.sleep(0.5)  # the button's own movement
            return await page.picture()


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
