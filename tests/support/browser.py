"""A real Chromium without a screen, driven by its DevTools protocol: real clicks, real permissions, pictures."""

import asyncio
import base64
import contextlib
import json
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

SECONDS = 60.0

_UNTIL = """new Promise(done => { const look = () => {
  let found = null;
  try { found = (() => { %s })(); } catch { /* the page is not there yet */ }
  if (found) done(JSON.stringify(found)); else setTimeout(look, 50);
}; look(); })"""
_PLACE = "(() => { const b = document.querySelector(%s).getBoundingClientRect(); "
_PLACE += "return JSON.stringify([b.x + b.width / 2, b.y + b.height / 2]); })()"


class Page:
    """A page in a browser without a screen. `complaints`: what it wrote to its console as an error."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number = connection, 0
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something of the DevTools protocol."""
        self._number += 1
        await self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        async with asyncio.timeout(SECONDS):
            while True:
                answer = json.loads(await self._connection.recv())
                if answer.get("id") == self._number:
                    assert "result" in answer, answer
                    return dict(answer["result"])
                self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"].get("exception", {}).get("description", str(told)))
        elif event.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])

    async def loaded(self) -> None:
        """Wait for the page: a script that begins before would be thrown away with what was there first."""
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(AssertionError):
                    state = await self.call("Runtime.evaluate", expression="document.readyState + location.protocol")
                    if state["result"].get("value") == "completehttp:":
                        return
                await asyncio.sleep(0.1)

    async def go(self, address: str) -> None:
        """Open an address here, and wait for it."""
        await self.call("Page.navigate", url=address)
        await self.loaded()

    async def value(self, script: str) -> Any:
        """What a script comes to, as it puts it into JSON."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "value" in answer["result"], answer
        return json.loads(answer["result"]["value"])

    async def until(self, body: str) -> Any:
        """Wait until the body of a function returns something, and say what."""
        return await self.value(_UNTIL % body)

    async def text(self, selector: str) -> str:
        """What a person reads there."""
        return str(await self.value(f"JSON.stringify(document.querySelector({json.dumps(selector)}).innerText)"))

    async def until_text(self, selector: str, part: str) -> str:
        """Wait until that is to be read there, and say all that is."""
        where = f"const t = document.querySelector({json.dumps(selector)}).innerText; "
        try:
            return str(await self.until(f"{where} return t.includes({json.dumps(part)}) && t"))
        except TimeoutError:
            raise AssertionError(f"{selector} says {await self.text(selector)!r}, not {part!r}") from None

    async def shown(self, selector: str) -> bool:
        """Whether somebody sees it."""
        found = f"const e = document.querySelector({json.dumps(selector)}); "
        return bool(await self.value(f"(() => {{ {found} return JSON.stringify(e.offsetParent !== null); }})()"))

    async def click(self, selector: str) -> None:
        """Click there, as with a mouse."""
        at = await self.until(
            f"const e = document.querySelector({json.dumps(selector)}); return e.offsetParent && !e.disabled && "
            "(e.scrollIntoView({block: 'center'}), 1)"
        )
        assert at == 1
        x, y = await self.value(_PLACE % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def drop(self, selector: str, *files: Path) -> None:
        """Drop files there."""
        x, y = await self.value(_PLACE % json.dumps(selector))
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    async def choose(self, selector: str, *files: Path) -> None:
        """Choose files there, as in the dialogue that it opens."""
        root = await self.call("DOM.getDocument")
        node = await self.call("DOM.querySelector", nodeId=root["root"]["nodeId"], selector=selector)
        await self.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(file) for file in files])

    async def allow_microphone(self, address: str, setting: str) -> None:
        """`granted`, `denied` or `prompt`, for the pages of an address."""
        permission = {"name": "microphone"}
        await self.call("Browser.setPermission", permission=permission, setting=setting, origin=address)

    async def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """A window of another width, and the reader's choice of colours."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """Of the whole page, as PNG."""
        taken = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])


@contextlib.asynccontextmanager
async def browser(folder: Path, address: str, *more: str) -> AsyncIterator[Page]:
    """A page at `address`, in a browser whose microphone is a fake one that any page may have."""
    async with _running(folder, address, ("--use-fake-ui-for-media-stream", *more)) as page:
        yield page


@contextlib.asynccontextmanager
async def asking_browser(folder: Path, address: str, microphone: Path, *more: str) -> AsyncIterator[Page]:
    """The same; the microphone hears a wav file, and pages get it as `Page.allow_microphone` says."""
    hears = f"--use-file-for-fake-audio-capture={microphone}"
    async with _running(folder, address, (hears, *more)) as page:
        for domain in ("Runtime", "Log", "Page"):
            await page.call(f"{domain}.enable")
        yield page


@contextlib.asynccontextmanager
async def _running(folder: Path, address: str, more: Sequence[str]) -> AsyncIterator[Page]:
    program = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if program is None:
        pytest.skip("chromium is not installed; `make system-packages` installs it")
    flags = [
        "--use-fake-device-for-media-stream",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--remote-debugging-port=0",
        *more,
    ]
    command = [program, *flags, f"--user-data-dir={folder}/profile", address]
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        found = folder / "profile" / "DevToolsActivePort"
        async with asyncio.timeout(SECONDS):
            while not found.exists() or len(found.read_text().splitlines()) < 2:  # noqa: ASYNC110  # a file, no event
                await asyncio.sleep(0.1)
        port = found.read_text().split()[0]
        target = await _target(port, address)
        async with connect(target, max_size=None, ping_interval=None) as connection:
            page = Page(connection)
            await page.loaded()
            yield page
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def _target(port: str, address: str) -> str:
    async with httpx.AsyncClient() as client, asyncio.timeout(SECONDS):
        while True:
            for target in (await client.get(f"http://127.0.0.1:{port}/json")).json():
                if target["url"].startswith(address):
                    return str(target["webSocketDebuggerUrl"])
            await asyncio.sleep(0.2)
