"""A night that really happens, in minutes: real servers crash, fill up and start again under a real dashboard.

The servers are `whisper-ops serve` processes whose engine is simulated; everything else (polls, kills, clients, the
writer, the screens) is real. `look` keeps what the screens show at a moment, so that a replay can be held against it.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from textual.pilot import Pilot
from websockets.asyncio.client import ClientConnection, connect

from dashboard.alerts import AlertRule
from dashboard.history.history_writer import HistoryWriter
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.app import DashApp
from dashboard.tui.saved_state import SavedState
from dashboard.world import AlertView
from tests.server.speaker import Speaker
from tests.support.servers import Running, free_port, running_server
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.tone_language import RATE, track

SIZE = (120, 40)
SLOTS = 2
"""Of each of the two GPUs of a server."""
PAGES: dict[str, tuple[str, ...]] = {
    "fleet": (),
    "first server": ("g", "enter"),
    "second server": ("h", "j", "enter"),
    "alerts": ("1", "2"),
    "events": ("1", "4"),
}
"""What is looked at, and the keys that lead there from the one before."""
_ONLY_LIVE = re.compile(r", next try in \d+ s")


class Moment(NamedTuple):
    """What the screens showed, and when."""

    name: str
    at: float
    pages: dict[str, str]


class Server:
    """A real server on a port that it keeps when it is killed and started again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._processes = ExitStack()
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """The process that runs now."""
        assert self._running is not None
        return self._running

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        options = ("--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", str(SLOTS))
        opening = running_server(self._folder, *options, port=self.port)
        self._running = await asyncio.to_thread(self._processes.enter_context, opening)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory ends."""
        self.running.process.kill()
        self.running.process.wait()

    def kill_worker(self) -> None:
        """SIGKILL to the worker of one GPU."""
        children = psutil.Process(self.running.process.pid).children()
        workers = [child for child in children if "server.worker" in child.cmdline()]
        workers[0].send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Stop what runs."""
        self._processes.close()


class Night:
    """Servers, clients, and the dashboard that watches and records them."""

    def __init__(self, pilot: Pilot[None], live: LiveFeed, servers: Sequence[Server], clients: AsyncExitStack) -> None:
        self.servers = servers
        self.moments: list[Moment] = []
        self.happened: list[str] = []
        self._pilot, self._live, self._clients = pilot, live, clients

    async def look(self, name: str) -> None:
        """Hold the picture, go through all pages, and let it go on."""
        await self._pilot.press("p")
        await self._pilot.pause()
        app = self._pilot.app
        assert isinstance(app, DashApp)
        at = app.context.screen.world.now
        self.moments.append(Moment(name, at, await pages(self._pilot)))
        await self._pilot.press("p")

    async def fill(self, server: Server) -> list[ClientConnection]:
        """Take every slot, one stream of them speaking, and be refused once more."""
        speaker = Speaker(server.running.ws_url, track(0, 20 * RATE).tobytes())
        talking = asyncio.create_task(speaker.run())
        self._clients.callback(talking.cancel)
        await speaker.ready()
        one_too_many = 2 * SLOTS
        opened = [await self._clients.enter_async_context(connect(server.running.ws_url)) for _ in range(one_too_many)]
        await self.until(lambda: self._state(server) == "critical")
        await self.until(lambda: (self._rejected(server) or 0) > 0)
        self.happened.append(f"{server.name} is full and refused a stream")
        return opened

    async def crash_a_worker(self, server: Server) -> None:
        """Kill -9 a worker, and wait until the dashboard has seen that it was started again."""
        server.kill_worker()
        await self.until(lambda: self._noted(server, "worker"))
        self.happened.append(f"{server.name} lost a worker")

    async def kill(self, server: Server) -> None:
        """SIGKILL the server, and wait until its silence is an alert."""
        server.kill()
        await self.until(lambda: any(alert.server == server.name and alert.until is None for alert in self._alerts()))
        self.happened.append(f"{server.name} was killed")

    async def start_again(self, server: Server) -> None:
        """Start the server again, and wait until it is seen."""
        await server.start()
        await self.until(lambda: self._noted(server, "restart"))
        self.happened.append(f"{server.name} started again")

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until the dashboard knows something."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain after {self.happened}"
            await asyncio.sleep(0.05)

    async def rest(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def _alerts(self) -> Sequence[AlertView]:
        return self._live.world().alerts

    def _noted(self, server: Server, kind: str) -> bool:
        return any(event.server == server.name and event.kind == kind for event in self._live.world().events)

    def _state(self, server: Server) -> str | None:
        seen = self._live.world().server(server.name)
        figures = seen.answer.figures if seen and seen.answer else None
        return figures.status if figures else None

    def _rejected(self, server: Server) -> int | None:
        seen = self._live.world().server(server.name)
        figures = seen.answer.figures if seen and seen.answer else None
        return figures.rejected_total if figures else None


@asynccontextmanager
async def watched(folder: Path, history: Path, rules: Sequence[AlertRule], interval: float) -> AsyncIterator[Night]:
    """Two servers, and a dashboard on a terminal of 120 by 40 that records them."""
    servers = [Server(folder, name) for name in ("north", "south")]
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        await asyncio.gather(*(server.start() for server in servers))
        writer = stack.enter_context(HistoryWriter(history, command="whisper-ops dash"))
        sources = [WhisperOpsSource(f"http://127.0.0.1:{server.port}", name=server.name) for server in servers]
        live = LiveFeed(Pollers(sources, interval=interval, deadline=1.0), writer, history, rules)
        stack.callback(live.close)
        app = DashApp(live, history=history, state=SavedState(expand="closed"))
        pilot = await stack.enter_async_context(app.run_test(size=SIZE))
        clients = await stack.enter_async_context(AsyncExitStack())
        night = Night(pilot, live, servers, clients)
        await night.until(lambda: all(server.answer for server in live.world().servers))
        yield night


async def replayed(history: Path, moment: Moment, rules: Sequence[AlertRule]) -> dict[str, str]:
    """The same pages of the same moment, out of the history."""
    replay = ReplayFeed(history, moment.at, rules=rules)
    replay.playing = False
    app = DashApp(replay, history=history, state=SavedState(expand="closed"))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        shown = await pages(pilot)
    replay.close()
    return shown


async def pages(pilot: Pilot[None]) -> dict[str, str]:
    """Each page as text, without what belongs to the present: the title, the footer, and when is tried next."""
    shown = {}
    for name, keys in PAGES.items():
        await pilot.press(*keys)
        await pilot.pause()
        shown[name] = _ONLY_LIVE.sub("", _text(pilot))
    await pilot.press("1")
    return shown


def _text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
    lines = ["".join(segment.text for segment in strip).rstrip() for strip in strips[1:-1]]
    # Charts are tested by themselves: a column of one is longer than this night.
    body = [line for line in lines if "recording to" not in line and "from the history" not in line]
    charts = next((i for i, line in enumerate(body) if line.startswith(" the last ")), len(body))
    return "\n".join(body[:charts])
