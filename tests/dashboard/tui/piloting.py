"""A dashboard over one server that may be changed, and what a test types and reads there."""

import time

import httpx
from textual.pilot import Pilot

from dashboard.admin_client import Admin
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from tests.dashboard.scenes import NOW, gpu, snapshot
from whisper_ops.snapshot import Snapshot


def screen_text(pilot: Pilot[None]) -> str:
    """What the terminal would show."""
    size = pilot.app.size
    strips = pilot.app.screen._compositor.render_strips(size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


class Asked:
    """A server that keeps what it was asked."""

    def __init__(self, status: int = 200, body: bytes = b'{"status": "draining"}') -> None:
        self.requests: list[httpx.Request] = []
        self.status, self.body = status, body

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = httpx.ByteStream(self.body)  # over a socket it comes as a stream, too
        return httpx.Response(self.status, stream=body)


def app(asked: Asked, token: str | None = "admin-secret", said: Snapshot | None = None) -> DashApp:
    live = LiveFeed(Pollers([]), None, None)
    live.take(said or snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)))
    admin = Admin({"asr-1": "http://asr-1:8000/"}, token, httpx.MockTransport(asked))
    return DashApp(live, admin=admin)


async def say(pilot: Pilot[None], line: str) -> None:
    await pilot.press("colon", *line, "enter")
    await pilot.pause()


async def settled(pilot: Pilot[None]) -> str:
    for worker in [worker for worker in pilot.app.workers if worker.group == "actions"]:
        await worker.wait()
    await pilot.pause()
    return screen_text(pilot)


async def told(pilot: Pilot[None], sign: str) -> str:
    """What the screen shows once it shows `sign`."""
    deadline = time.monotonic() + 20
    while sign not in (text := screen_text(pilot)):
        assert time.monotonic() < deadline, f"never saw {sign!r} in {text}"
        await pilot.pause(0.05)
    return text
