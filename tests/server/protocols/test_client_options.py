"""What a client asks for is done, or it is told that it is not: fields, parameters and messages, in every protocol."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from server import ipc
from server.settings import SimulatedLaw
from server.worker.segmenter import Tuning, tuned
from tests.server.protocols.test_protocols import _COMPLETED, _append, _hello, _say, _update
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, loud, run


def served(work: Any, **settings: Any) -> None:
    async def main() -> None:
        world = await World(**settings).ready()
        await work(world)
        await world.close()

    run(main)


# --- bytes ----------------------------------------------------------------------------------------------


def _floats(sound: bytes) -> bytes:
    return (np.frombuffer(sound, "<i2").astype("<f4") / 32768).tobytes()


@pytest.mark.parametrize("protocol", ["/asr", "/ws", "/ws?encoding=pcm_f32le", "/", "/v1/realtime"])
@pytest.mark.parametrize("size", [1, 333, 4095])
def test_a_sample_may_be_split_between_messages(protocol: str, size: int) -> None:
    path, _, query = protocol.partition("?")
    sound = loud(48000)
    sent = _floats(sound) if path == "/" or query else sound
    parts = [sent[at : at + size] for at in range(0, len(sent) if size > 1 else 9, size)]
    parts.append(sent[len(parts) * size :])

    async def work(world: World) -> None:
        client = world.client(path, **dict(pair.split("=") for pair in query.split("&") if pair))
        if path == "/":
            _hello(client)
        if path == "/v1/realtime":
            client.say(_update(turn_detection=None))
        await asyncio.sleep(0.5)
        for part in parts:
            client.say(_append(part)) if path == "/v1/realtime" else client.send(part)
        if path == "/v1/realtime":
            client.say('{"type":"input_audio_buffer.commit"}')
            await world.until(lambda: bool(client.of(_COMPLETED)))
        else:
            client.say('{"type":"end"}') if path == "/ws" else client.send(b"END_OF_AUDIO" if path == "/" else b"")
            await client.finished()
        assert " ".join(spoken(3.0)) in json.dumps(client.messages)
        assert not [m for m in client.messages if "error" in json.dumps(m).lower()]

    served(work)


def test_the_bytes_of_half_a_sample_at_the_end_are_told() -> None:
    async def work(world: World) -> None:
        client = await world.client().connected()
        client.send(loud(32000) + b"\x01")
        await client.end()
        (warning,) = client.of("warning")
        assert "last 1 bytes" in warning["message"]
        assert client.text.split() == spoken(2.0)
        assert client.of("done")

    served(work)


# --- messages and parameters -----------------------------------------------------------------------------


DEEP = '{"a":' * 5000 + "1" + "}" * 5000


UNREADABLE = {
    "deep": DEEP,
    "open": "[" * 100_000,
    "cut": '{"type":"flush","' + "x" * 5000,
    "zero": "\x00",
    "string": '"end"',
    "list": "[]",
    "number": "1e999999",
}


@pytest.mark.parametrize("said", UNREADABLE.values(), ids=UNREADABLE)
def test_a_message_that_cannot_be_read_is_answered(said: str) -> None:
    async def work(world: World) -> None:
        native, live = await world.client().connected(), world.client("/")
        realtime, later = world.client("/v1/realtime"), world.client("/v1/realtime")
        for client in (native, live, realtime):
            client.say(said)
        later.say(_update())
        later.say(said)
        for client in (native, live):
            await client.finished()
            assert client.close_code in (1003, 1007)
        assert native.of("error")[0]["code"] in ("bad_json", "bad_request")
        assert live.messages[0]["status"] == "ERROR"
        for client in (realtime, later):
            await world.until(lambda client=client: bool(client.of("error")))  # type: ignore[misc]
            assert not client.over, client.messages
            client.leave()

    served(work)


@pytest.mark.parametrize("path", ["/asr", "/"])
def test_text_is_no_audio(path: str) -> None:
    async def work(world: World) -> None:
        client = world.client(path)
        if path == "/":
            _hello(client)
        await asyncio.sleep(0.5)
        client.say("hello there")
        await client.finished()
        assert "text messages are not supported" in json.dumps(client.messages)
        assert client.close_code == 1003

    served(work)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/ws", {"langauge": "de"}, 1003),
        ("/ws", {"model": "large"}, 1003),
        ("/asr", {"diarization": "true"}, 4400),
        ("/asr", {"mode": "half"}, 4400),
        ("/asr", {"target_language": "fr"}, 4400),
    ],
)
def test_a_parameter_that_is_not_honoured_is_refused(path: str, query: dict[str, str], code: int) -> None:
    async def work(world: World) -> None:
        client = world.client(path, **query)
        await client.finished()
        assert client.close_code == code
        (name,) = query
        assert name in json.dumps(client.of("error")[0])

    served(work)


def test_a_parameter_is_given_once() -> None:
    async def work(world: World) -> None:
        client = world.client(language="de&language=fr")
        await client.finished()
        assert "given twice" in client.of("error")[0]["message"]

    served(work)


# --- WhisperLive -----------------------------------------------------------------------------------------

STOCK: dict[str, Any] = {
    "use_vad": False,
    "max_clients": 4,
    "max_connection_time": 600,
    "send_last_n_segments": 10,
    "no_speech_thresh": 0.45,
    "clip_audio": False,
    "same_output_threshold": 10,
    "initial_prompt": None,
    "vad_parameters": None,
    "hotwords": None,
    "enable_translation": False,
    "target_language": "fr",
    "enable_diarization": False,
    "max_speakers": 10,
    "known_speakers": [],
    "word_timestamps": False,
}
"""What WhisperLive's own client says when its user asked for nothing."""


def test_whisperlives_stock_client_is_not_warned() -> None:
    async def work(world: World) -> None:
        client = world.client("/")
        _hello(client, **STOCK)
        await asyncio.sleep(1.0)
        assert [m.get("message") for m in client.messages] == ["SERVER_READY"]

    served(work)


@pytest.mark.parametrize(
    "asked", [{"initial_prompt": "Names."}, {"platform": "meet"}, {"no_speech_thresh": 0.9}, {"max_speakers": 2}]
)
def test_whisperlive_warns_of_what_it_does_not_honour_and_goes_on(asked: dict[str, Any]) -> None:
    async def work(world: World) -> None:
        client = world.client("/")
        _hello(client, **STOCK | asked)
        await asyncio.sleep(1.0)
        assert client.messages[0]["message"] == "SERVER_READY"
        assert client.messages[1]["status"] == "WARNING"
        assert next(iter(asked)) in client.messages[1]["message"]
        client.send(_floats(loud(32000)))
        client.send(b"END_OF_AUDIO")
        await client.finished()
        assert " ".join(spoken(2.0)) in json.dumps(client.messages)

    served(work)


@pytest.mark.parametrize(
    "asked",
    [
        {"task": "translate"},
        {"enable_translation": True},
        {"send_last_n_segments": -1},
        {"uid": "u" * 300},
        {"language": 7},
        {"audio_format": "uint8"},
    ],
)
def test_whisperlive_refuses_what_would_give_another_text(asked: dict[str, Any]) -> None:
    async def work(world: World) -> None:
        client = world.client("/")
        _hello(client, **STOCK | asked)
        await client.finished()
        assert client.messages[0]["status"] == "ERROR"
        assert client.close_code in (1003, 1007)
        assert world.hub.slots.used == 0

    served(work)


@pytest.mark.parametrize("many", [0, 501, 1 << 63, 1 << 200])
def test_whisperlive_shows_at_most_so_many_segments(many: int) -> None:
    async def work(world: World) -> None:
        client = world.client("/")
        _hello(client, send_last_n_segments=many)
        client.send(_floats(loud(32000)))
        client.send(b"END_OF_AUDIO")
        await client.finished()
        assert [len(m["segments"]) for m in client.messages if "segments" in m][-1] == 1

    served(work)


# --- realtime --------------------------------------------------------------------------------------------


def _session(**asked: Any) -> dict[str, Any]:
    return {"type": "session.update", "event_id": "mine", "session": {"type": "transcription", **asked}}


def _input(**asked: Any) -> dict[str, Any]:
    return _session(audio={"input": asked})


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (_session(type="realtime"), "session.type"),
        (_session(include=["item.input_audio_transcription.logprobs"]), "session.include"),
        (_session(instructions="Be kind."), "session"),
        (_input(noise_reduction={"type": "near_field"}), "session.audio.input.noise_reduction"),
        (_input(transcription={"prompt": "Names."}), "session.audio.input.transcription.prompt"),
        (_input(transcription={"keywords": ["one"]}), "session.audio.input.transcription"),
        (_input(transcription={"language": "xx"}), "session.audio.input.transcription.language"),
        (_input(turn_detection={"type": "semantic_vad"}), "session.audio.input.turn_detection.type"),
        (_input(turn_detection={"type": "server_vad", "threshold": 3}), "session.audio.input.turn_detection.threshold"),
        (_input(turn_detection={"type": "server_vad", "idle_timeout_ms": 6000}), "session.audio.input.turn_detection"),
        (_input(format={"type": "audio/pcma"}), "session.audio.input.format.type"),
        (_input(format={"type": "audio/pcm", "rate": 4000}), "session.audio.input.format.rate"),
        ({"type": "response.create", "event_id": "mine", "response": {}}, "type"),
        ({"type": "input_audio_buffer.append", "event_id": "mine", "audio": "é"}, "audio"),
        ({"type": "input_audio_buffer.append", "event_id": "mine", "audio": 5}, "audio"),
        ({"type": "input_audio_buffer.append", "event_id": "mine"}, None),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_realtime_names_the_event_and_the_field_that_it_does_not_take(
    event: dict[str, Any], param: str | None, first: bool
) -> None:
    async def work(world: World) -> None:
        client = world.client("/v1/realtime")
        if not first:
            client.say(_update())
            await world.until(lambda: bool(client.of("session.updated")))
        client.say(json.dumps(event))
        await world.until(lambda: bool(client.of("error")))
        (error,) = (said["error"] for said in client.of("error"))
        assert error["event_id"] == "mine"
        assert error["type"] == "invalid_request_error"
        assert param is None or error["param"].startswith(param)
        if first:
            client.say(_update())
        await _say(client, 4.0)
        await _say(client, 1.0, level=0)
        assert client.of(_COMPLETED)

    served(work)


def test_realtime_tells_what_is_in_force_and_keeps_what_an_update_leaves_out() -> None:
    async def work(world: World) -> None:
        client = world.client("/v1/realtime")
        detection = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 900}
        client.say(_update(turn_detection={**detection, "create_response": False}))
        await world.until(lambda: bool(client.of("session.updated")))
        client.say(json.dumps(_session()))
        await world.until(lambda: len(client.of("session.updated")) == 2)
        for said in client.of("session.updated"):
            assert said["session"]["audio"]["input"] == {
                "format": {"type": "audio/pcm", "rate": 16000},
                "transcription": {"model": "simulated", "language": "en"},
                "turn_detection": detection,
            }

    served(work)


def test_realtime_says_what_cannot_change_any_more() -> None:
    async def work(world: World) -> None:
        client = world.client("/v1/realtime")
        client.say(_update())
        client.say(json.dumps(_input(format={"type": "audio/pcm", "rate": 48000})))
        client.say(json.dumps(_input(turn_detection={"type": "server_vad", "threshold": 0.7})))
        await world.until(lambda: len(client.of("error")) == 2)
        assert all("cannot change" in said["error"]["message"] for said in client.of("error"))

    served(work)


def test_realtime_ends_utterances_after_the_silence_that_was_asked_for() -> None:
    async def work(world: World) -> None:
        counts = []
        for ms in (300, 1500):
            client = world.client("/v1/realtime")
            client.say(_update(turn_detection={"type": "server_vad", "silence_duration_ms": ms}))
            for _ in range(2):
                await _say(client, 2.0)
                await _say(client, 1.0, level=0)
            await _say(client, 2.0, level=0)
            counts.append(len(client.of(_COMPLETED)))
            client.leave()
            await client.finished()
        assert counts == [2, 1]

    served(work)


def test_a_clients_tuning_leaves_the_rest_as_it_is() -> None:
    assert tuned(None) == tuned(ipc.TurnSettings()) == Tuning()
    asked = tuned(ipc.TurnSettings(0.8, 0.3, 0.7))
    assert (asked.speech, asked.pause, asked.short_pause) == (0.8, 0.7, 0.7)
    assert asked.silence < asked.speech
    assert asked.before == pytest.approx(0.32)  # whole frames, never less than asked
    assert tuned(ipc.TurnSettings(before_s=0.0)).before == 0.0


# --- rows that fail --------------------------------------------------------------------------------------


def _told(client: Client) -> str:
    return json.dumps([m for m in client.messages if "could not be decoded" in json.dumps(m)])


@pytest.mark.parametrize("path", ["/ws", "/ws?words=true", "/asr", "/", "/v1/realtime"])
def test_speech_that_cannot_be_decoded_is_told_and_counted(path: str) -> None:
    path, _, query = path.partition("?")

    async def work(world: World) -> None:
        client = world.client(path, **dict(pair.split("=") for pair in query.split("&") if pair))
        if path == "/":
            _hello(client, audio_format="int16")
        if path == "/v1/realtime":
            client.say(_update())
            await _say(client, 2.0)
            await _say(client, 2.0, level=0)
        else:
            await client.speak(2.0)
            await client.speak(2.0, level=0)
        await world.until(lambda: "could not be decoded" in json.dumps(client.messages))
        match path:
            case "/ws":
                (said,) = client.of("warning")
                assert said["code"] == "decode_failed"
                assert 0 <= said["start"] < said["end"] < 3
            case "/asr":
                assert "error" in next(m for m in client.messages if "error" in m)
            case "/":
                assert [m["status"] for m in client.messages if "status" in m] == ["WARNING"]
            case _:
                (failed,) = client.of("conversation.item.input_audio_transcription.failed")
                assert failed["item_id"] in {m["item_id"] for m in client.of("input_audio_buffer.committed")}
                assert failed["error"]["code"] == "decode_failed"
        await asyncio.sleep(3.0)
        assert world.hub.engine_stats[0].failed_rows >= 2
        client.leave()
        await client.finished()
        assert world.hub.slots.used == 0

    served(work, law=SimulatedLaw(a_seconds=0.02, b_seconds=0.005, fault_every=1))


def test_speech_that_fails_once_loses_nothing() -> None:
    async def work(world: World) -> None:
        for words in ("false", "true"):
            client = await world.client(words=words).connected()
            for _ in range(10):
                await client.speak(2.0)
                await client.speak(1.0, level=0)
                client.sent += 0
            await client.end()
            assert client.text.split() == [w for k in range(10) for w in spoken(2.0, 3.0 * k)]
            assert not client.of("warning")
        assert world.hub.engine_stats[0].failed_rows > 5

    served(work, law=SimulatedLaw(a_seconds=0.02, b_seconds=0.005, fault_every=5))


# --- subprotocols ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["realtime", "openai-insecure-api-key.secret"], "realtime"),
        (["realtime", "openai-insecure-api-key.secret", "openai-beta.realtime-v1"], "realtime"),
        (["openai-insecure-api-key.secret", "openai-beta.realtime-v1"], "openai-beta.realtime-v1"),
        (["bearer", "secret"], "bearer"),
    ],
)
@pytest.mark.parametrize("right", [True, False])
def test_a_browsers_subprotocols_carry_its_token_and_one_of_them_is_answered(
    offered: list[str], chosen: str, right: bool
) -> None:
    async def work(world: World) -> None:
        client = world.client(
            "/v1/realtime", subprotocols=[name if right else name.replace("secret", "guess") for name in offered]
        )
        await world.until(lambda: bool(client.messages) or client.over)
        assert client.subprotocol == chosen
        assert bool(client.of("session.created")) == right
        assert client.close_code == (None if right else 1008)
        client.leave()
        await client.finished()

    served(work, token="secret")
