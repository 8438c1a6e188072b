"""Clients of other servers work unchanged."""

import asyncio
import base64
import json

import numpy as np
import pytest

from server.settings import SimulatedLaw
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, loud, run


def _hello(client: Client, **more: object) -> None:
    options = {"uid": "u-1", "language": "en", "task": "transcribe", "model": "small", "use_vad": True, **more}
    client.say(json.dumps(options))


async def _speak_floats(client: Client, seconds: float) -> None:
    for k in range(round(seconds * 10)):
        samples = np.frombuffer(loud(1600, k * 1600), "<i2").astype("<f4") / 32768
        client.send(samples.tobytes())
        await asyncio.sleep(0.1)


def test_whisperlive_gets_segments_a_partial_and_its_tail() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/")
        _hello(client)
        await world.until(lambda: bool(client.messages))
        assert client.messages[0] == {"uid": "u-1", "message": "SERVER_READY", "backend": "faster_whisper"}
        await _speak_floats(client, 3.0)
        update = client.messages[-1]["segments"][-1]
        assert update["completed"] is False
        assert isinstance(update["start"], str)
        client.send(b"END_OF_AUDIO")
        await client.finished()
        last = [m for m in client.messages if "segments" in m][-1]["segments"]
        assert [segment["completed"] for segment in last] == [True]
        assert last[0]["text"].split() == spoken(3.0)
        assert client.messages[-1] == {"uid": "u-1", "message": "DISCONNECT"}
        await world.close()

    run(main)


def test_whisperlive_without_a_language_is_told_which_one_it_is() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/")
        _hello(client, language=None)
        await world.until(lambda: len(client.messages) == 2)
        assert client.messages[1] == {"uid": "u-1", "language": "en", "language_prob": 1.0}
        await world.close()

    run(main)


def test_whisperlive_is_told_to_wait_when_full() -> None:
    async def main() -> None:
        world = await World(max_connections_per_gpu=1).ready()
        await world.client().connected()
        client = world.client("/")
        _hello(client)
        await client.finished()
        assert client.messages[0]["status"] == "WAIT"
        assert client.messages[0]["message"] > 0
        assert client.close_code == 1013
        await world.close()

    run(main)


def test_whisperlive_nonsense_is_named() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/")
        client.say("hello")
        await client.finished()
        assert client.messages[0]["status"] == "ERROR"
        assert client.close_code == 1007
        other = world.client("/")
        _hello(other, audio_format="uint24")
        await other.finished()
        assert "uint24" in other.messages[0]["message"]
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_a_dropped_whisperlive_client_frees_its_slot_at_once() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/")
        _hello(client)
        await _speak_floats(client, 1.0)
        client.drop()
        await client.finished()
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


@pytest.mark.parametrize("path", ["/", "/v1/realtime"])
def test_who_never_says_what_it_wants_is_let_go(path: str) -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client(path)
        began = world.loop.time()
        await client.finished()
        assert client.close_code == 1001
        assert 29 < world.loop.time() - began < 32
        assert "no first message" in json.dumps(client.messages[-1])
        await world.close()

    run(main)


def test_whisperlivekit_gets_lines_and_a_buffer() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/asr")
        await client.speak(3.0)
        assert client.messages[0] == {"type": "config", "useAudioWorklet": True, "mode": "full"}
        assert client.messages[-1]["buffer_transcription"].startswith("river stone garden")
        await client.speak(1.0, level=0)
        await client.speak(2.0)
        client.send(b"")
        await client.finished()
        lines = client.messages[-2]["lines"]
        assert [line["start"] for line in lines] == ["0:00:00.00", "0:00:03.71"]
        assert " ".join(line["text"] for line in lines).split()[:8] == spoken(3.0)
        assert client.messages[-1] == {"type": "ready_to_stop"}
        await world.close()

    run(main)


def test_whisperlivekit_differences_add_up_to_what_full_updates_say() -> None:
    async def main() -> None:
        world = await World().ready()
        full, diff = world.client("/asr"), world.client("/asr", mode="diff")
        for _ in range(3):
            await asyncio.gather(full.speak(2.0), diff.speak(2.0))
            await asyncio.gather(full.speak(1.0, level=0), diff.speak(1.0, level=0))
        for client in (full, diff):
            client.send(b"")
            await client.finished()
        assert diff.messages[0] == {"type": "config", "useAudioWorklet": True, "mode": "diff"}
        first, *later = diff.messages[1:-1]
        assert first["type"] == "snapshot"
        assert {message["type"] for message in later} == {"diff"}
        assert [message["seq"] for message in (first, *later)] == list(range(1, len(later) + 2))
        lines = list(first["lines"])
        for message in later:
            lines += message.get("new_lines", [])
            assert len(lines) == message["n_lines"]
        assert lines == full.messages[-2]["lines"]
        assert len(lines) == 3
        await world.close()

    run(main)


def test_whisperlivekit_bad_parameters_end_with_its_own_code() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/asr", mode="half")
        await client.finished()
        assert client.close_code == 4400
        assert "'half'" in client.of("error")[0]["error"]
        await world.close()

    run(main)


def _append(audio: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})


def _update(**asked: object) -> str:
    body = {"format": {"type": "audio/pcm", "rate": 16000}, "transcription": {"model": "x", "language": "en"}, **asked}
    return json.dumps({"type": "session.update", "session": {"type": "transcription", "audio": {"input": body}}})


async def _say(client: Client, seconds: float, level: float = 0.3) -> None:
    for _ in range(round(seconds * 10)):
        client.say(_append(loud(1600, client.sent) if level else bytes(3200)))
        client.sent += 1600
        await asyncio.sleep(0.1)


_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_realtime_items_are_utterances_and_their_deltas_are_their_transcript() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/v1/realtime")
        await world.until(lambda: bool(client.of("session.created")))
        client.say(_update())
        await world.until(lambda: bool(client.of("session.updated")))
        for _ in range(2):
            await _say(client, 4.0)
            await _say(client, 1.0, level=0)
        items = client.of(_COMPLETED)
        assert len(items) == 2
        for item in items:
            deltas = [m["delta"] for m in client.of(_DELTA) if m["item_id"] == item["item_id"]]
            assert len(deltas) > 2
            assert "".join(deltas) == item["transcript"]
            assert item["usage"]["type"] == "duration"
        assert [m["previous_item_id"] for m in client.of("input_audio_buffer.committed")] == [None, items[0]["item_id"]]
        kinds = [m["type"] for m in client.messages]
        assert kinds.index("input_audio_buffer.speech_started") < kinds.index(_DELTA) < kinds.index(_COMPLETED)
        client.leave()
        await client.finished()
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_realtime_without_turn_detection_an_item_is_what_is_committed() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/v1/realtime")
        client.say(_update(turn_detection=None))
        await _say(client, 2.0)
        await _say(client, 1.0, level=0)
        await _say(client, 2.0)
        assert not client.of(_COMPLETED)
        client.say('{"type":"input_audio_buffer.commit"}')
        await world.until(lambda: bool(client.of(_COMPLETED)))
        (item,) = client.of(_COMPLETED)
        assert "".join(m["delta"] for m in client.of(_DELTA)) == item["transcript"]
        assert item["transcript"].split()[:5] == spoken(2.0)
        await world.close()

    run(main)


def test_realtime_commits_in_a_row_are_items_of_their_own() -> None:
    async def main() -> None:
        # An engine so slow that the second commit comes before the first has its text.
        world = await World(law=SimulatedLaw(a_seconds=3.0, b_seconds=0)).ready()
        client = world.client("/v1/realtime")
        client.say(_update(turn_detection=None))
        for _ in range(2):
            await _say(client, 2.0)
            client.say('{"type":"input_audio_buffer.commit"}')
        await world.until(lambda: len(client.of(_COMPLETED)) == 2)
        committed = client.of("input_audio_buffer.committed")
        first, second = (message["item_id"] for message in committed)
        assert first != second
        assert [message["previous_item_id"] for message in committed] == [None, first]
        assert [message["item_id"] for message in client.of(_COMPLETED)] == [first, second]
        for number, item in enumerate(client.of(_COMPLETED)):
            assert item["transcript"].split() == spoken(2.0, 2.0 * number)
            deltas = [m["delta"] for m in client.of(_DELTA) if m["item_id"] == item["item_id"]]
            assert "".join(deltas) == item["transcript"]
        await world.close()

    run(main)


def test_realtime_errors_are_events_and_the_stream_goes_on() -> None:
    async def main() -> None:
        world = await World().ready()
        client = world.client("/v1/realtime")
        client.say(_update())
        for nonsense in ("{", '{"type":"input_audio_buffer.append","audio":"!"}', '{"type":"response.create"}'):
            client.say(nonsense)
        await world.until(lambda: len(client.of("error")) == 3)
        assert [m["error"]["code"] for m in client.of("error")] == ["bad_json", "bad_audio", "bad_request"]
        await _say(client, 4.0)
        assert client.of(_DELTA)
        await world.close()

    run(main)
