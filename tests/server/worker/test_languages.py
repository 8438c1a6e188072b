"""The language a client names, in whatever form: one code for the engine, or an error in the client's own protocol."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import languages
from server.engines.engine import EngineInfo, Hypothesis
from server.languages import LanguageError
from tests.server.http.test_routes import _wav
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, FlawedEngine, World, loud, run


@pytest.mark.parametrize(
    ("said", "code"),
    [
        *[
            (name, "de")
            for name in ("de", "DE", "de-DE", "de_AT", "de-CH-1996", "german", "German", " GERMAN ", "deu", "ger")
        ],
        *[(name, "zh") for name in ("zh-Hans-CN", "zh-TW", "cmn", "mandarin", "Chinese")],
        *[("zh-yue", "yue"), ("nb-NO", "no"), ("no", "no"), ("nn", "nn"), ("iw", "he"), ("fil-PH", "tl"), ("jv", "jw")],
        *[("pt-BR", "pt"), ("haitian_creole", "ht"), ("sr-Latn", "sr"), ("mo", "ro"), ("en-US-x-twain", "en")],
        *[(name, None) for name in (None, "", " ", "auto", "AUTO", "Auto")],
    ],
)
def test_a_language_has_one_code_however_it_is_written(said: str | None, code: str | None) -> None:
    assert languages.read(said) == code


@pytest.mark.parametrize("said", ["xx", "klingon", "de,fr", "de-", "und", "*", "é", "\x00", "none", "x" * 100_000])
def test_what_is_no_language_is_an_error_that_shows_it(said: str) -> None:
    with pytest.raises(LanguageError, match="use a code such as de"):
        languages.read(said)


@given(st.text(max_size=80))
def test_any_text_is_one_of_whispers_codes_or_an_error(text: str) -> None:
    with contextlib.suppress(LanguageError):
        assert languages.read(text) in {None, *languages.NAMES}


def test_the_table_is_whispers_own() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    assert set(languages.NAMES) == set(tokenizer._LANGUAGE_CODES)
    for code, name in languages.NAMES.items():
        assert languages.read(code) == languages.read(name) == languages.read(name.title()) == code


class Listener(FlawedEngine):
    """Notes the language of every row, and knows those it is told to."""

    rows: list[str | None]
    knows: tuple[str, ...] | None = None

    def load(self) -> EngineInfo:
        self.rows = []
        return EngineInfo("simulated", "all", self.knows)

    def decode(self, rows: Any) -> list[Hypothesis]:
        self.rows += [row.language for row in rows]
        return super().decode(rows)


def _native(world: World, language: str) -> Client:
    return world.client(language=language)


def _asr(world: World, language: str) -> Client:
    return world.client("/asr", language=language)


def _whisperlive(world: World, language: str) -> Client:
    client = world.client("/")
    client.say(
        json.dumps({"uid": "u", "language": language, "task": "transcribe", "model": "small", "audio_format": "int16"})
    )
    return client


def _realtime(world: World, language: str) -> Client:
    client = world.client("/v1/realtime")
    asked = {"format": {"type": "audio/pcm", "rate": 16000}, "transcription": {"language": language}}
    client.say(json.dumps({"type": "session.update", "event_id": "e1", "session": {"audio": {"input": asked}}}))
    return client


PROTOCOLS = [_native, _asr, _whisperlive, _realtime]


def _refusal(client: Client) -> str:
    """What a client is told, in the form of its own protocol."""
    (said,) = [m for m in client.messages if "error" in m or m.get("type") == "error" or m.get("status") == "ERROR"]
    match said:
        case {"code": "bad_request", "message": message}:
            return str(message)
        case {"type": "error", "error": {"message": message, "event_id": "e1", "param": param}}:
            assert param == "session.audio.input.transcription.language"
            return str(message)
        case {"type": "error", "error": message} | {"status": "ERROR", "uid": "u", "message": message}:
            return str(message)
    raise AssertionError(said)


def _with(engine: type[Listener], work: Callable[[World], Any]) -> None:
    async def main() -> None:
        world = World(engine=engine)
        await work(await world.ready())
        await world.close()

    run(main)


@pytest.mark.parametrize("connect", PROTOCOLS)
def test_every_protocol_gives_the_engine_the_code_and_gets_its_text(connect: Callable[[World, str], Client]) -> None:
    async def work(world: World) -> None:
        for said, code in (("de-DE", "de"), ("GERMAN", "de"), ("auto", None)):
            client = connect(world, said)
            await asyncio.sleep(0.5)
            if connect is _realtime:
                for k in range(30):
                    sound = base64.b64encode(loud(1600, 1600 * k)).decode()
                    client.say(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
                client.say('{"type":"input_audio_buffer.commit"}')
                await asyncio.sleep(3)
            else:
                await client.speak(3.0)
            assert "river" in json.dumps(client.messages)
            engine = world.processes[0].engine
            assert isinstance(engine, Listener)
            assert engine.rows[0] == code
            assert code is None or set(engine.rows) == {code}
            client.leave()
            await client.finished()
            await asyncio.sleep(1.0)
            engine.rows.clear()

    _with(Listener, work)


@pytest.mark.parametrize("connect", PROTOCOLS)
@pytest.mark.parametrize("said", ["xx", "klingon"])
def test_every_protocol_refuses_what_is_no_language_in_its_own_words(
    connect: Callable[[World, str], Client], said: str
) -> None:
    async def work(world: World) -> None:
        client = connect(world, said)
        await world.until(lambda: "is not known" in json.dumps(client.messages))
        assert repr(said) in _refusal(client)
        if connect is not _realtime:  # there an error is an event, and the client may say it better
            await client.finished()
            assert client.close_code in (1003, 4400)
        client.leave()
        await client.finished()
        assert world.hub.slots.used == 0

    _with(Listener, work)


@pytest.mark.parametrize("connect", PROTOCOLS)
def test_a_model_of_english_alone_is_not_asked_for_another_language(connect: Callable[[World, str], Client]) -> None:
    class English(Listener):
        knows = ("en",)

    async def work(world: World) -> None:
        client = connect(world, "de-DE")
        await world.until(lambda: "knows English only" in json.dumps(client.messages))
        assert "not de" in _refusal(client)
        client.leave()
        await client.finished()
        await client.finished()
        assert world.hub.slots.used == 0
        english = connect(world, "en-GB")
        await asyncio.sleep(1.0)
        assert not [m for m in english.messages if "error" in json.dumps(m).lower()]
        english.leave()
        await english.finished()

    _with(English, work)


@pytest.mark.parametrize("connect", PROTOCOLS)
def test_a_model_that_is_still_loading_refuses_once_it_is_there(connect: Callable[[World, str], Client]) -> None:
    class English(Listener):
        knows = ("en",)

    async def main() -> None:
        world = World(engine=English)
        client = connect(world, "fr")
        await world.ready()
        await client.finished()
        assert "knows English only" in json.dumps(client.messages)
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("said", "status", "answer"),
    [
        ("de-DE", 200, "german"),
        ("auto", 200, "english"),
        ("xx", 400, "'xx' is not known"),
        ("fr", 400, "does not know fr"),
    ],
)
def test_the_file_form_does_the_same(said: str, status: int, answer: str | None) -> None:
    class Some(Listener):
        knows = ("en", "de")

    async def work(world: World) -> None:
        transport = httpx.ASGITransport(world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://there") as http:
            form = {"language": said, "response_format": "verbose_json"}
            got = await http.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", _wav(3.0))})
        assert got.status_code == status
        if status == 200:
            assert got.json()["text"].split() == spoken(3.0)
            assert got.json()["language"] == answer
        else:
            assert answer in got.json()["error"]["message"]
            assert got.json()["error"]["param"] == "language"
        assert world.hub.slots.used == 0

    _with(Some, work)
