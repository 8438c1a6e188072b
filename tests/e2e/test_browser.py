"""A real browser's WebSocket, from the server's own page: what no header can be set for."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.scenarios.test_streams import spoken
from tests.support.browser import Page, browser
from tests.support.programs import nginx
from tests.support.servers import Running, free_port, running_server
from whisper_ops.tone_language import track

pytestmark = pytest.mark.slow

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.01,load=0")
SECONDS = 3.0

SPEAK = """new Promise(done => {
  const said = [], socket = new WebSocket("%(url)s", %(protocols)s);
  socket.binaryType = "arraybuffer";
  const sound = Uint8Array.from(atob("%(sound)s"), letter => letter.charCodeAt(0));
  const begin = () => { %(begin)s };
  socket.onopen = () => { said.push({opened: socket.protocol}); begin(); };
  socket.onmessage = event => {
    const message = JSON.parse(event.data); said.push(message);
    if (JSON.stringify(message).includes("%(last)s")) socket.close(1000);
  };
  socket.onclose = event => done(JSON.stringify([...said, {closed: event.code, reason: event.reason}]));
})"""
NATIVE = """
  for (let at = 0; at < sound.length; at += 3333) socket.send(sound.slice(at, at + 3333));
  socket.send('{"type":"end"}');
"""
REALTIME = """
  socket.send(JSON.stringify({type: "session.update", session: {type: "transcription", audio: {input:
    {format: {type: "audio/pcm", rate: 16000}, transcription: {language: "en"}, turn_detection: null}}}}));
  socket.send(JSON.stringify({type: "input_audio_buffer.append", audio: "%(sound)s"}));
  socket.send(JSON.stringify({type: "input_audio_buffer.commit"}));
"""


async def _spoken(page: Page, server: Running, path: str, protocols: list[str], begin: str, last: str) -> list[Any]:
    sound = base64.b64encode(track(0, round(SECONDS * 16000)).tobytes() + bytes(32000)).decode()
    fields = {
        "url": f"ws://127.0.0.1:{server.port}{path}",
        "protocols": json.dumps(protocols),
        "sound": sound,
        "last": last,
    }
    said = await page.value(SPEAK % {**fields, "begin": begin % fields})
    return list(said)


@pytest.mark.timeout(180)
async def test_a_browser_speaks_every_way_it_can(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    with running_server(tmp_path, *SIMULATED, "--token-file", str(token)) as server:
        async with browser(tmp_path, f"{server.url}/?token=secret") as page:
            await page.call("Runtime.enable")
            text = " ".join(spoken(SECONDS))
            for path, protocols, begin, last, chosen in (
                ("/ws", ["bearer", "secret"], NATIVE, "done", "bearer"),
                ("/ws?token=secret", [], NATIVE, "done", ""),
                ("/v1/realtime", ["realtime", "openai-insecure-api-key.secret"], REALTIME, "completed", "realtime"),
                (
                    "/v1/realtime?intent=transcription",
                    ["realtime", "openai-insecure-api-key.secret", "openai-beta.realtime-v1"],
                    REALTIME,
                    '"type":"conversation.item.input_audio_transcription.completed',
                    "realtime",
                ),
            ):
                said = await _spoken(page, server, path, protocols, begin, last.replace('"', '\\"'))
                assert said[0] == {"opened": chosen}
                assert text in json.dumps(said)
                assert said[-1]["closed"] == 1000
            # Refused with a reason that a page can show.
            for path, protocols in (
                ("/ws", ["bearer", "guess"]),
                ("/v1/realtime", ["realtime", "openai-insecure-api-key.guess"]),
            ):
                said = await _spoken(page, server, path, protocols, NATIVE, "done")
                assert said[-1] == {"closed": 1008, "reason": "this server needs a token"}


@pytest.mark.timeout(180)
async def test_the_pages_keep_the_token_in_memory_and_speak_with_a_ticket(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret/with+signs=")
    with running_server(tmp_path, *SIMULATED, "--token-file", str(token)) as server:
        # A person who has no token in the address is asked for it.
        async with browser(tmp_path, f"{server.url}/") as page:
            await page.call("Runtime.enable")
            await page.call("Page.enable")
            await page.until("return !document.getElementById('login').hidden")
            await page.value("JSON.stringify(document.getElementById('token').value = 'secret/with+signs=')")
            await page.click("#login button")
            await page.until_text("#gpus", "simulated")
            assert not await page.shown("#login")
            await page.click("#record")
            await page.until_text("#state", "Listening")
            asked = {"headers": {"authorization": "Bearer secret/with+signs="}}
            said = await page.value(f"fetch('performance', {json.dumps(asked)}).then(answer => answer.text())")
            assert (said["tickets_used_total"], said["active_connections"]) == (1, 1)

            await page.go(f"{server.url}/docs?token=secret%2Fwith%2Bsigns%3D")
            calls = "const n = document.querySelectorAll('#calls details').length; return n > 8 && [n, location.href]"
            count, address = await page.until(calls)
            assert count > 8
            assert address == f"{server.url}/docs", "the token is gone from the address"
            loaded = "performance.getEntriesByType('resource').map(entry => entry.name)"
            for name in await page.value(f"JSON.stringify({loaded})"):
                assert name.startswith(f"{server.url}/")
                assert "secret" not in name


BELOW = """
server {
    listen 127.0.0.1:%(port)d;
    location /asr-1/ {
        proxy_pass http://127.0.0.1:%(server)d/;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $whisper_ops_connection;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
"""


@pytest.mark.timeout(180)
async def test_the_pages_work_below_a_path_of_a_proxy(tmp_path: Path) -> None:
    token, port = tmp_path / "token", free_port()
    token.write_text("secret")
    with running_server(tmp_path, *SIMULATED, "--token-file", str(token)) as server:
        more = BELOW % {"port": port, "server": server.port}
        with nginx(tmp_path, [server], more=more):
            async with browser(tmp_path, f"http://127.0.0.1:{port}/asr-1/?token=secret") as page:
                await page.until_text("#gpus", "simulated")
                await page.click("#record")
                await page.until_text("#state", "Listening")
                assert server.get("/health?token=secret")["capacity"]["used_slots"] == 1
                await page.click("#record")
                await page.go(f"http://127.0.0.1:{port}/asr-1/docs?token=secret")
                await page.until("return document.querySelectorAll('#calls details').length > 8")
