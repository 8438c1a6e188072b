"""Clients that say nothing: muted ones keep their session, abandoned ones lose it, and what was said is heard."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect

from server.http.bounded_websocket import BoundedWebSocket
from server.http.listening import bind
from server.http.serving import MAX_MESSAGE_BYTES
from server.sessions.limits import PAUSE_SECONDS
from server.settings import SimulatedLaw
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, loud, run

FIRST = {
    "/ws": None,
    "/asr": None,
    "/": '{"uid":"u"}',
    "/v1/realtime": '{"type":"session.update","session":{"type":"transcription"}}',
}


async def _open(world: World, path: str, **query: Any) -> Client:
    client = world.client(path, **query)
    if FIRST[path] is not None:
        client.say(FIRST[path] or "")
    sessions = len(world.hub.sessions)
    await world.until(lambda: len(world.hub.sessions) > sessions or client.over)
    return client


@pytest.mark.parametrize("path", FIRST)
def test_each_protocol_has_its_patience(path: str) -> None:
    async def main() -> None:
        world = await World(idle_seconds=20.0, max_idle_seconds=300.0).ready()
        client = await _open(world, path)
        began = world.loop.time()
        await world.until(lambda: client.over, 400)
        # Only native clients can say that they are there, and come back if they did not.
        assert world.loop.time() - began == pytest.approx(20 if path == "/ws" else 300, abs=3)
        assert client.close_code == 1001
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


@pytest.mark.parametrize("path", FIRST)
def test_a_muted_client_that_asked_for_it_keeps_its_session(path: str) -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0, max_idle_seconds=600.0).ready()
        client = await _open(world, path, idle=200)
        await asyncio.sleep(190)
        assert not client.over
        await world.until(lambda: client.over, 20)
        await world.close()

    run(main)


def test_a_keepalive_keeps_a_session_for_as_long_as_it_comes() -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0).ready()
        client = await world.client().connected()
        await client.speak(2.0)
        for _ in range(100):
            client.say('{"type":"keepalive"}')
            await asyncio.sleep(4.0)
        await client.speak(2.0)
        await client.end()
        assert client.of("done")[0]["audio_s"] == 4.0
        assert client.text.split() == spoken(4.0)
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        *(("/ws", asked) for asked in ("0", "-5", "601", "nan", "inf", "1e2", "forever", "", "9" * 400, "٣٠")),
        *((path, "601") for path in FIRST),
    ],
)
def test_a_time_that_cannot_be_had_is_refused_with_those_that_can(path: str, asked: str) -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0, max_idle_seconds=600.0).ready()
        client = await _open(world, path, idle=asked)
        await client.finished()
        assert "from 1 to 600" in json.dumps(client.messages)
        assert world.hub.sessions == {}
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_whoever_stopped_in_the_middle_gets_the_final_and_may_come_back() -> None:
    async def main() -> None:
        world = await World(idle_seconds=10.0).ready()
        client = await world.client().connected()
        await client.speak(4.0)
        await client.speak(2.0, level=0)
        await client.speak(2.0)
        await client.finished()
        assert [message["type"] for message in client.messages[-2:]] == ["final", "error"]
        assert client.messages[-1]["code"] == "idle_timeout"
        heard = round(client.of("final")[-1]["end"] * 16000)
        again = await world.client(resume=client.resume_token, offset=heard).connected()
        assert again.sent == heard
        await again.speak(2.0)
        await again.end()
        assert f"{client.text} {again.text}".split() == [*spoken(4.0), *spoken(2.0, 6.0), *spoken(2.0, heard / 16000)]
        assert again.of("done")[0]["audio_s"] == pytest.approx(heard / 16000 + 2.0, abs=0.001)
        await world.close()

    run(main)


@pytest.mark.parametrize(("path", "last"), [("/", "DISCONNECT"), ("/asr", "No message for 5 s")])
def test_other_protocols_say_it_in_their_words_after_the_last_text(path: str, last: str) -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0, max_idle_seconds=5.0).ready()
        client = world.client(path)
        if path == "/":
            client.say('{"uid":"u","audio_format":"int16"}')
        await asyncio.sleep(0.1)
        client.send(loud(3 * 16000))
        await client.finished()
        assert last in json.dumps(client.messages[-1])
        assert " ".join(spoken(3.0)) in json.dumps(client.messages[-2])
        await world.close()

    run(main)


def test_a_session_that_lasted_long_enough_ends_with_its_last_word() -> None:
    async def main() -> None:
        world = await World(session_seconds=6.0).ready()
        client = await world.client().connected()
        await client.speak(9.0)
        assert client.messages[-1]["code"] == "session_timeout"
        assert client.text.split() == spoken(client.of("final")[-1]["end"])
        assert client.of("final")[-1]["end"] >= 6.0
        await world.close()

    run(main)


def test_a_tail_that_is_never_decoded_ends_a_session_all_the_same() -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0).ready()
        client = await world.client().connected()
        await client.speak(1.0)
        world.broken = True
        world.live(0).kill()
        world.hub.sessions[1].last_message_at -= 100
        world.hub.sessions[1].covered_s = 1.0
        await world.until(lambda: client.over, 60)
        assert client.messages[-1]["code"] in ("idle_timeout", "server_fault")
        await world.close()

    run(main)


# --- a file, faster than it can be decoded --------------------------------------------------------------


@pytest.mark.parametrize("chunk", [3200, 1 << 20])
def test_a_file_is_held_back_however_large_its_messages_are(chunk: int) -> None:
    async def main() -> None:
        world = await World(law=SimulatedLaw(a_seconds=1.0, b_seconds=0.5)).ready()
        client = await world.client().connected()
        data = loud(180 * 16000)
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                worst = max([worst, *(session.lag_s for session in world.hub.sessions.values())])
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        for at in range(0, len(data), chunk):
            client.send(data[at : at + chunk])
        client.say('{"type":"end"}')
        await world.until(lambda: client.over, 600)
        watching.cancel()
        assert client.of("error") == []
        assert client.text.split() == spoken(180.0)
        assert PAUSE_SECONDS < worst < PAUSE_SECONDS + 2
        assert world.hub.counters.overloaded == 0
        assert world.hub.counters.paused >= 1
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("query", "size"), [({"encoding": "mulaw", "sample_rate": 8000}, 1 << 20), ({"encoding": "pcm_f32le"}, 1 << 20)]
)
def test_one_message_of_minutes_is_taken_in_pieces(query: dict[str, Any], size: int) -> None:
    async def main() -> None:
        world = await World(law=SimulatedLaw(a_seconds=0.5, b_seconds=0.1)).ready()
        client = await world.client(**query).connected()
        silence = b"\xff" if query["encoding"] == "mulaw" else b"\0"
        for _ in range(2):
            client.send(silence * size)
        await client.end()
        assert client.of("error") == []
        seconds = 2 * size / (8000 if query["encoding"] == "mulaw" else 64000)
        assert client.of("done")[0]["audio_s"] == round(seconds, 3)
        await world.close()

    run(main)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is waited for is a figure
            await asyncio.sleep(0.02)


async def test_a_client_that_is_made_to_wait_is_not_taken_for_dead() -> None:
    """Its pongs lie behind audio that is not read yet."""
    took: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            took.append(len(message["bytes"]))
            await asyncio.sleep(0.15)

    config = uvicorn.Config(
        app, ws=BoundedWebSocket, lifespan="off", log_config=None, ws_ping_interval=0.2, ws_ping_timeout=0.2
    )
    sock = bind("127.0.0.1", 0)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([sock]))
    await _until(lambda: server.started)
    async with connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/", ping_interval=None, compression=None) as client:
        for _ in range(16):
            await client.send(bytes(MAX_MESSAGE_BYTES))
        await _until(lambda: len(took) == 16)
    server.should_exit = True
    await task
