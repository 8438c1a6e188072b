"""The language of a stream whose client names none: heard, told, put right, and fixed on request."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from server import ipc
from server.engines.engine import EngineInfo, EngineRow, Hypothesis
from server.worker.language_detection import StreamLanguage
from server.worker.stream import Stream
from server.worker.vad import LevelVad
from tests.server.virtual import Client, FlawedEngine, World, loud, run

WRONG_SECONDS = 1.5


class Guesser(FlawedEngine):
    """Hears the language of tones; what language it is in, it takes for Welsh until it has heard enough."""

    wrong_until_s = WRONG_SECONDS
    rows: list[EngineRow]

    def load(self) -> EngineInfo:
        self.rows = []
        return EngineInfo("simulated", "all", ("cy", "en", "es"))

    def sounds_like(self, row: EngineRow) -> dict[str, float]:
        wrong = len(row.audio) / 16000 < self.wrong_until_s
        return {"cy": 0.9, "es": 0.05} if wrong else {"es": 0.95, "cy": 0.03}

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        self.rows += rows
        return [self._in(row, heard) for row, heard in zip(rows, super().decode(rows), strict=True)]

    def _in(self, row: EngineRow, heard: Hypothesis) -> Hypothesis:
        if row.language:
            return replace(heard, language=row.language)
        found = self.sounds_like(row)
        code = row.choose(found) if row.choose else max(found, key=found.__getitem__)
        return replace(heard, language=code, languages=found)


def _with(engine: type[Guesser], work: Callable[[World, Client], Any], path: str = "/ws", **query: Any) -> None:
    async def main() -> None:
        world = await World(engine=engine).ready()
        await work(world, world.client(path, **query))
        await world.close()

    run(main)


def _hypothesis(languages: dict[str, float], score: float = -0.2) -> Hypothesis:
    best = max(languages, key=languages.__getitem__)
    return Hypothesis("words", log_probability=score, language=best, languages=languages)


def _choice(language: StreamLanguage, found: dict[str, float], seconds: float) -> str:
    code, choose = language.for_window(seconds, last=True)
    if code is not None:
        return code
    assert choose is not None
    return choose(found)


def test_a_short_guess_decides_nothing_for_later() -> None:
    stream = StreamLanguage(None)
    assert _choice(stream, {"cy": 0.6, "es": 0.3}, 0.6) == "cy"
    stream.learn(_hypothesis({"cy": 0.6, "es": 0.3}), 0.6)
    assert not stream.sure
    assert _choice(stream, {"es": 0.7, "cy": 0.2}, 3.0) == "es"


def test_a_long_clear_utterance_overturns_what_many_said() -> None:
    stream = StreamLanguage(None)
    for _ in range(20):
        stream.learn(_hypothesis({"cy": 0.99}), 5.0)
    assert stream.sure
    assert _choice(stream, {"es": 0.5, "cy": 0.4}, 1.0) == "cy", "a doubtful short one is what the stream is in"
    assert _choice(stream, {"es": 0.98, "cy": 0.01}, 4.0) == "es"


def test_a_poor_text_loosens_what_was_believed() -> None:
    def after(score: float) -> str:
        stream = StreamLanguage(None)
        for _ in range(3):
            stream.learn(_hypothesis({"cy": 0.95, "es": 0.01}), 4.0)
        stream.learn(_hypothesis({"es": 0.45, "cy": 0.45}, score), 3.0)
        return _choice(stream, {"es": 0.8, "cy": 0.08}, 2.0)

    assert after(-0.2) == "cy"
    assert after(-1.5) == "es"


def test_what_the_client_said_is_never_doubted() -> None:
    stream = StreamLanguage("de")
    stream.learn(_hypothesis({"es": 0.99}), 9.0)
    assert _choice(stream, {"es": 0.99}, 9.0) == "de"
    assert stream.for_window(9.0, last=True) == ("de", None)


def test_partials_in_a_guessed_language_are_not_stable_and_the_final_is_right() -> None:
    async def work(world: World, client: Client) -> None:
        await client.speak(1.4)
        await asyncio.sleep(0.5)
        assert client.of("partial")
        assert all(said["stable_chars"] == 0 for said in client.of("partial"))
        await client.speak(4.0)
        await client.speak(1.0, level=0)
        assert client.of("partial")[-1]["stable_chars"] > 0
        assert [said["language"] for said in client.of("final")] == ["es"]
        assert client.of("ready")[0]["language"] is None
        client.leave()

    _with(Guesser, work)


def test_a_stream_that_began_wrongly_is_put_right() -> None:
    class Welsh(Guesser):
        """Its first utterance sounds like Welsh, however long it is."""

        def sounds_like(self, row: EngineRow) -> dict[str, float]:
            return {"cy": 0.97, "es": 0.01} if row.at_s < 4 else {"es": 0.9, "cy": 0.05}

    async def work(world: World, client: Client) -> None:
        for _ in range(4):
            await client.speak(4.0)
            await client.speak(1.0, level=0)
        languages = [said["language"] for said in client.of("final")]
        assert languages[0] == "cy"
        assert languages[-2:] == ["es", "es"]
        client.leave()

    _with(Welsh, work)


def test_the_worker_that_takes_over_knows_the_language() -> None:
    async def work(world: World, client: Client) -> None:
        await client.speak(4.0)
        await client.speak(1.5, level=0)
        assert [said["language"] for said in client.of("final")] == ["es"]
        world.live(0).kill()
        await world.until(lambda: world.hub.router.is_ready(0))
        await client.speak(1.0)
        await client.speak(1.5, level=0)
        assert client.of("final")[-1]["language"] == "es", "alone, so short an utterance sounds like Welsh"
        client.leave()

    _with(Guesser, work)


def test_a_client_says_in_the_middle_what_it_is() -> None:
    async def work(world: World, client: Client) -> None:
        await client.speak(4.0)
        client.say('{"type":"language","language":"en-GB"}')
        await client.speak(2.0)
        await client.speak(1.0, level=0)
        assert client.of("final")[-1]["language"] == "en"
        client.say('{"type":"language","language":null}')
        await client.speak(4.0)
        await client.speak(1.0, level=0)
        assert client.of("final")[-1]["language"] == "es"
        client.say('{"type":"language","language":"klingon"}')
        await client.finished()
        assert "klingon" in client.of("error")[0]["message"]
        assert client.close_code == 1003

    _with(Guesser, work)


@pytest.mark.parametrize("said", ['{"type":"language"}', '{"type":"flush","language":"en"}'])
def test_a_language_that_goes_nowhere_is_an_error(said: str) -> None:
    async def work(world: World, client: Client) -> None:
        await client.connected()
        client.say(said)
        await client.finished()
        assert "has the field language" in client.of("error")[0]["message"]

    _with(Guesser, work)


def test_realtime_takes_another_language_at_any_time() -> None:
    async def work(world: World, client: Client) -> None:
        def update(language: str) -> str:
            heard = {"format": {"type": "audio/pcm", "rate": 16000}, "transcription": {"language": language}}
            return json.dumps(
                {"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}}
            )

        client.say(update("en"))
        await world.until(lambda: len(client.of("session.updated")) == 1)
        client.say(update("es"))
        await world.until(lambda: len(client.of("session.updated")) == 2)
        (session,) = world.hub.sessions.values()
        assert session.audio.language == "es"
        assert not client.of("error")
        client.leave()

    _with(Guesser, work, "/v1/realtime")


def test_whisperlive_is_told_once_it_is_known_and_when_it_changes() -> None:
    async def work(world: World, client: Client) -> None:
        client.say(json.dumps({"uid": "u", "task": "transcribe", "model": "small", "audio_format": "int16"}))
        await asyncio.sleep(0.5)
        assert not [m for m in client.messages if "language" in m]
        for _ in range(2):
            await client.speak(4.0)
            await client.speak(1.0, level=0)
        told = [m for m in client.messages if "language" in m]
        assert told == [{"uid": "u", "language": "es", "language_prob": 0.95}]
        client.leave()

    _with(Guesser, work, "/")


def test_whisperlivekits_lines_say_their_language() -> None:
    async def work(world: World, client: Client) -> None:
        await client.speak(4.0)
        await client.speak(1.0, level=0)
        assert client.messages[-1]["lines"][-1]["detected_language"] == "es"
        client.leave()

    _with(Guesser, work, "/asr")


def test_an_engine_that_names_only_its_choice_settles_too() -> None:
    stream = Stream(ipc.Open(1, 16000, "pcm_s16le", None, False, 0.0, 0), LevelVad(), 0.5)
    languages = []
    for begin in (0, 10, 20):
        now = float(begin)
        stream.feed(loud(16000 * 4) + bytes(16000 * 4), now)
        while job := stream.job():
            window = stream.take(now, job.context)
            languages.append(window.row.language)
            stream.apply(window, Hypothesis("word " * 8, language="en"), now)
    assert stream.events
    assert languages[0] is None
