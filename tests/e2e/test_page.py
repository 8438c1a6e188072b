"""The page at `/` as people meet it: a real Chromium, a real server with a real model, real speech.

`PICTURES=FOLDER` in the environment keeps what was seen.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.support.browser import Page, asking_browser
from tests.support.servers import Running, free_port, running_server
from whisper_ops import speech_synthesis

pytestmark = [pytest.mark.slow, pytest.mark.speech]

TEXT = "Please bring two bottles of water and the blue umbrella to the station."
OUTSIDE = "whisper.example"
"""A name of the server that no browser takes for its own machine."""


@dataclass
class Visit:
    """Somebody at the page."""

    page: Page
    server: Running
    speech: Path

    async def picture(self, name: str) -> None:
        if folder := os.environ.get("PICTURES"):
            await asyncio.to_thread(Path(folder, f"{name}.png").write_bytes, await self.page.picture())

    async def words(self) -> list[str]:
        found = "[...document.querySelectorAll('#finals ruby')].map(word => word.firstChild.textContent)"
        return [word.strip(".,").lower() for word in await self.page.value(f"JSON.stringify({found})")]

    async def delays(self) -> list[str]:
        found = "[...document.querySelectorAll('#finals rt')].map(delay => delay.textContent)"
        return list(await self.page.value(f"JSON.stringify({found})"))

    async def level(self) -> float:
        return float(await self.page.value("JSON.stringify(document.querySelector('#level').value)"))

    async def heard(self) -> None:
        """What was said stands there, each word with its delay, and nothing moves any more."""
        said = await self.words()
        assert len(set(said) & set(TEXT.strip(".").lower().split())) >= 8, said
        delays = await self.delays()
        assert len(delays) == len(said)
        assert all(0 <= float(delay) < 30 for delay in delays), delays
        assert "—" in (await self.page.text("#stream")).split("Lag now")[1].split("Words")[0]
        assert await self.level() == -60
        await self.page.until_text("#used", "0 of 1 used, 1 free")
        assert "Lag p95, last minute\n—" in await self.page.text("#now")
        assert await self.page.text("#partial") == ""


@contextlib.asynccontextmanager
async def visiting(folder: Path) -> AsyncIterator[Visit]:
    (speech,) = speech_synthesis.synthesise([TEXT], folder / "speech")
    port = free_port()
    outside = f"http://{OUTSIDE}:{port}"
    options = ("--devices", "cpu", "--max-connections-per-gpu", "1", "--sample", str(speech), "--allow-origin", outside)
    with running_server(folder, *options, port=port) as server:
        resolve = f"--host-resolver-rules=MAP {OUTSIDE} 127.0.0.1"
        async with asking_browser(folder, f"{server.url}/", speech, resolve) as page:
            await page.look(1000)
            yield Visit(page, server, speech)


@pytest.mark.timeout(300)
async def test_everything_that_can_be_done_on_the_page(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        for step in (
            sample,
            file,
            no_sound_in_a_file,
            microphone_denied,
            microphone,
            microphone_at_its_own_rate,
            full,
            without_https,
            narrow_and_dark,
            docs,
            gone,
        ):
            await step(visit)
        # Refusals are answers too, and a browser notes each of them as an error.
        complaints = [told for told in visit.page.complaints if not told.startswith("Failed to load resource")]
        assert not complaints, complaints


async def sample(visit: Visit) -> None:
    page = visit.page
    assert await page.until_text("#used", "free") == "0 of 1 used, 1 free"
    await visit.picture("idle")
    await page.click("#sample")
    await page.until_text("#state", "Playing the sample.")
    await page.until_text("#used", "1 of 1 used, 0 free")
    await page.until("return document.querySelector('#level').value > -50")
    await page.until_text("#partial", " ")
    await visit.picture("playing")
    await page.until_text("#state", "Done.")
    await visit.heard()
    await visit.picture("done")


async def file(visit: Visit) -> None:
    await visit.page.drop("#text", visit.speech)
    await visit.page.until_text("#state", f"Playing {visit.speech.name}.")
    assert await visit.words() == [], "the words of the stream before are gone"
    await visit.page.until_text("#state", "Done.")
    await visit.heard()


async def no_sound_in_a_file(visit: Visit) -> None:
    text = visit.speech.with_name("notes.txt")
    text.write_text("no sound")
    await visit.page.choose("#file", text)
    await visit.page.until_text("#state", "notes.txt is no sound that this browser can read.")
    await visit.page.drop("#text", text, visit.speech)
    await visit.page.until_text("#state", "One file at a time")


NO_DEVICE = """JSON.stringify((navigator.mediaDevices.getUserMedia = async () => {
  throw new DOMException("Requested device not found", "NotFoundError");
}) && 1)"""
"""What a browser says on a machine without one."""


async def microphone_denied(visit: Visit) -> None:
    await visit.page.allow_microphone(visit.server.url, "denied")
    await visit.page.click("#record")
    await visit.page.until_text("#state", "The microphone is not allowed on this page. Allow it")
    assert visit.server.get("/health")["capacity"]["used_slots"] == 0
    await visit.page.value(NO_DEVICE)
    await visit.page.click("#record")
    await visit.page.until_text("#state", "No microphone was found.")
    await visit.page.go(f"{visit.server.url}/")
    await visit.page.until_text("#used", "0 of 1 used")


async def microphone(visit: Visit) -> None:
    page = visit.page
    await page.allow_microphone(visit.server.url, "granted")
    await page.click("#record")
    await page.until_text("#state", "Listening.")
    await page.until("return document.querySelector('#level').value > -50")
    await page.until_text("#partial", "station")  # the fake microphone says it again and again
    await visit.picture("listening")
    await page.click("#record")
    await page.until_text("#state", "Done.")
    await visit.heard()


FIREFOX = """JSON.stringify((() => {
  const real = AudioContext.prototype.createMediaStreamSource;
  window.rates = [];
  AudioContext.prototype.createMediaStreamSource = function (media) {
    window.rates.push(this.sampleRate);
    if (this.sampleRate === 16000) throw new DOMException("of another sample-rate", "NotSupportedError");
    return real.call(this, media);
  };
  return 1;
})())"""
"""Firefox connects no microphone to sound of another rate than its own."""


async def microphone_at_its_own_rate(visit: Visit) -> None:
    page = visit.page
    await page.value(FIREFOX)
    await page.click("#record")
    await page.until_text("#partial", "station")
    await page.click("#record")
    await page.until_text("#state", "Done.")
    await visit.heard()
    assert (await page.value("JSON.stringify(window.rates)"))[0] == 16000
    assert (await page.value("JSON.stringify(window.rates)"))[1] > 16000
    await page.go(f"{visit.server.url}/")
    await page.until_text("#used", "free")


async def full(visit: Visit) -> None:
    page = visit.page
    async with connect(visit.server.ws_url) as socket:
        while json.loads(await socket.recv())["type"] != "ready":
            pass
        await page.click("#record")
        await page.until_text("#countdown", "Trying again in")
        said = await page.text("#state")
        assert said == "This server is full: its one slot is in use. Nothing is sent until there is room."
        assert await page.shown("#again")
        await page.until_text("#used", "1 of 1 used, 0 free")
        await visit.picture("full")
        await page.click("#record")
        await page.until_text("#state", "Stopped.")
        assert not await page.shown("#again")
        assert await page.text("#countdown") == ""
        await page.click("#record")
        await page.until_text("#countdown", "Trying again in")
        await socket.send('{"type":"end"}')
        await socket.wait_closed()
    # By itself, without a hand.
    await page.until_text("#state", "Listening.")
    await page.click("#record")
    await page.until_text("#state", "Done.")


async def without_https(visit: Visit) -> None:
    page = visit.page
    await page.go(f"http://{OUTSIDE}:{visit.server.port}/")
    said = await page.until_text("#microphone", "Browsers give no microphone")
    assert f"plain http from {OUTSIDE}" in said
    assert f"http://localhost:{visit.server.port}" in said
    await page.until_text("#used", "0 of 1 used")
    await visit.picture("plain-http")
    await page.click("#sample")  # which needs no microphone, and none of what browsers keep from such pages
    await page.until_text("#state", "Done.")
    await visit.heard()


async def narrow_and_dark(visit: Visit) -> None:
    page = visit.page
    for path in ("", "docs"):
        await page.go(f"{visit.server.url}/{path}")
        await page.until("return document.querySelector('#used, #calls details')")
        if path:
            await page.value(
                "JSON.stringify(document.querySelectorAll('details').forEach(one => one.open = true) || 1)"
            )
        for width, dark in ((360, True), (360, False), (1000, True)):
            await page.look(width, dark=dark)
            wide = await page.value("JSON.stringify(document.documentElement.scrollWidth)")
            assert wide <= width, f"/{path} is {wide} wide"
            colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            paper, ink = await page.value(f"JSON.stringify({colours})")
            assert (brightness(paper) < brightness(ink)) == dark
            await visit.picture(f"{path or 'page'}-{width}-{'dark' if dark else 'light'}")
    await page.look(1000)


def brightness(colour: str) -> int:
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


async def docs(visit: Visit) -> None:
    page = visit.page
    await page.go(f"{visit.server.url}/docs")
    await page.until("return document.querySelectorAll('#calls details').length > 8")
    await page.value("JSON.stringify(document.querySelectorAll('#calls details').forEach(one => one.open = true) || 1)")
    await page.click("#calls details button")
    await page.until("return document.querySelector('#calls pre').innerText.length > 20")
    await page.click("#calls a[href='#Health']")
    await page.until("return document.getElementById('Health').open")
    assert "capacity" in await page.text("#Health pre")
    names = "performance.getEntriesByType('resource').map(entry => entry.name)"
    for name in await page.value(f"JSON.stringify({names})"):
        assert name.startswith(f"{visit.server.url}/")


async def gone(visit: Visit) -> None:
    page = visit.page
    await page.go(f"{visit.server.url}/")
    await page.until_text("#used", "free")
    await page.click("#sample")
    await page.until_text("#partial", " ")
    visit.server.process.kill()
    await page.until_text("#state", "The connection was lost.")
    await page.until_text("#now", "The server does not answer.")
    assert await page.text("#used") == "—"
    assert await page.text("#gpus") == ""
    assert await page.text("#partial") == ""
    assert await visit.level() == -60
    await page.click("#sample")
    await page.until_text("#state", "The server does not answer.")
    await visit.picture("gone")
