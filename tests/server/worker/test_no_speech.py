"""Text that a model makes of no speech is not told; what was said is, though it be short or quiet."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server import ipc
from server.engines.engine import EngineRow, Hypothesis
from server.worker.no_speech import is_noise
from server.worker.stream import Stream
from server.worker.vad import LevelVad, VoiceActivity
from tests.server.virtual import Client, FlawedEngine, World, loud, run

NOISE = Hypothesis("I'm not a fan of the game", no_speech=0.85, log_probability=-2.4)
SPEECH = Hypothesis("seven", no_speech=0.3, log_probability=-0.5)


class Deaf(FlawedEngine):
    """Makes the same of whatever it hears."""

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        super().decode(rows)
        return [replace(NOISE, no_speech=0.99) for _ in rows]


class Ears(LevelVad):
    """Hears a voice in whatever is loud, but no more than so sure of it."""

    def __init__(self, sure: float = 0.6) -> None:
        self.sure = sure

    def __call__(self, samples: np.ndarray) -> list[float]:
        return [self.sure * p for p in super().__call__(samples)]


def _events(*heard: Hypothesis, sure: float = 0.6, seconds: float = 2.0, words: bool = False) -> list[ipc.Message]:
    """What becomes of an utterance whose windows are heard so, one after the other; the last goes on for ever."""
    stream = Stream(ipc.Open(1, 16000, "pcm_s16le", "en", words, 0.0, 0), Ears(sure), 0.5)
    told, events = list(heard), []
    sound = loud(round(16000 * seconds)) + bytes(2 * 16000)
    for i in range(0, len(sound), 3200):
        now = i / 32000
        stream.feed(sound[i : i + 3200], now)
        while (job := stream.job()) and job.due <= now:
            window = stream.take(now, job.context)
            stream.apply(window, told.pop(0) if len(told) > 1 else told[0], now)
        events += stream.events
        stream.events.clear()
    return events


@pytest.mark.parametrize(
    ("no_speech", "score", "voice"),
    [(0.96, -4.6, 0.2), (0.9, -3.8, 0.28), (0.8, -2.4, 0.24), (0.7, -2.1, 0.2), (0.8, -1.6, 0.2)],
)
def test_what_was_made_of_hum_music_and_breath_is_noise(no_speech: float, score: float, voice: float) -> None:
    assert is_noise(Hypothesis("You", no_speech, score), voice)


@pytest.mark.parametrize(
    ("no_speech", "score", "voice"),
    [(0.3, -0.5, 0.6), (0.05, -1.9, 0.7), (0.6, -0.2, 0.5), (0.75, -0.15, 0.6), (0.4, -1.2, 0.6), (0.0, 0.0, 1.0)],
)
def test_what_was_said_is_none(no_speech: float, score: float, voice: float) -> None:
    assert not is_noise(Hypothesis("seven", no_speech, score), voice)


def test_what_is_not_told_is_counted() -> None:
    async def main() -> None:
        world = await World(engine=Deaf).ready()
        client = world.client()
        for _ in range(3):
            await client.speak(2.0)
            await client.speak(1.0, level=0)
        await asyncio.sleep(2.0)
        assert client.messages[-1]["type"] == "ready"
        assert world.hub.engine_stats[0].withheld == 3
        client.leave()
        await world.close()

    run(main)


def test_nothing_is_told_of_noise_and_its_sound_is_settled() -> None:
    assert _events(NOISE) == []
    assert _events(NOISE, words=True) == []
    assert _events(NOISE, seconds=20.0) == [], "nor where it is cut without a pause"


def test_speech_is_told_as_before() -> None:
    events = _events(SPEECH)
    assert [type(event) for event in events][-1] is ipc.Final
    assert isinstance(events[0], ipc.Partial)


def test_a_text_that_turns_out_to_be_noise_is_taken_back() -> None:
    events = _events(SPEECH, NOISE)
    assert [event.text for event in events if isinstance(event, ipc.Partial)] == ["seven", ""]
    assert not [event for event in events if isinstance(event, ipc.Final)]


class Fickle(FlawedEngine):
    """Takes the first windows of each utterance for speech and the whole of it for noise, but for the second one."""

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        super().decode(rows)
        return [SPEECH if len(row.audio) < 24000 or row.at_s > 3 else replace(NOISE, no_speech=0.99) for row in rows]


@pytest.mark.parametrize("path", ["/ws", "/", "/asr", "/v1/realtime"])
def test_every_protocol_takes_back_what_was_shown(path: str) -> None:
    async def main() -> None:
        world = await World(engine=Fickle).ready()
        client = world.client(path)
        if path == "/":
            client.say(json.dumps({"uid": "u", "task": "transcribe", "model": "m", "audio_format": "int16"}))
        if path == "/v1/realtime":
            audio = {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}
            client.say(json.dumps({"type": "session.update", "session": {"type": "transcription", "audio": audio}}))
        await asyncio.sleep(0.5)
        await _say(client, path, 2.0, 1.5)
        shown = [m for m in client.messages if "seven" in json.dumps(m)]
        assert path == "/v1/realtime" or shown
        assert not _shows(path, client.messages)
        await _say(client, path, 2.0, 1.5)
        assert _shows(path, client.messages)
        client.leave()
        await client.finished()
        await world.close()

    run(main)


async def _say(client: Client, path: str, *seconds: float) -> None:
    """Speech, then silence, in the form of the protocol."""
    for level, length in zip((0.3, 0.0), seconds, strict=True):
        if path != "/v1/realtime":
            await client.speak(length, level=level)
            continue
        for k in range(round(length * 10)):
            sound = loud(1600, 1600 * k) if level else bytes(3200)
            client.say(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()}))
            await asyncio.sleep(0.1)


def _shows(path: str, messages: list[dict[str, Any]]) -> bool:
    """Whether a client that goes by all of these shows a word in the end."""
    match path:
        case "/ws":
            texts = [m["text"] for m in messages if m["type"] in ("partial", "final")]
            return bool(texts[-1])
        case "/":
            return bool([m for m in messages if "segments" in m][-1]["segments"])
        case "/asr":
            last = messages[-1]
            return bool(last["lines"] or last["buffer_transcription"])
    kinds = [m["type"] for m in messages]
    assert kinds.count("input_audio_buffer.speech_started") == kinds.count("input_audio_buffer.speech_stopped")
    return bool([m for m in messages if m["type"].endswith(".completed")][-1]["transcript"])


def test_what_is_stable_stays() -> None:
    said = Hypothesis("one two three four five six seven", no_speech=0.1, log_probability=-0.2)
    events = _events(said, said, said, NOISE, seconds=3.0)
    stable = next(e.text[: e.stable_chars] for e in events if isinstance(e, ipc.Partial) and e.stable_chars)
    (final,) = [event for event in events if isinstance(event, ipc.Final)]
    assert final.text.startswith(stable)


def test_a_voice_is_as_sure_as_its_frames() -> None:
    voice = VoiceActivity()
    for i, probability in enumerate((0.0, 0.4, 0.8, 0.9)):
        voice.add(512 * (i + 1), probability)
    assert voice.mean(0, 2048) == pytest.approx(0.525)
    assert voice.mean(512, 1536) == pytest.approx(0.6)
    assert voice.mean(5000, 6000) == 1.0
    voice.drop(1537)
    assert voice.mean(0, 2048) == pytest.approx(0.9)
