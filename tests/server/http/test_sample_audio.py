"""The sound that the page plays: a file, tones or a voice; and a sentence where there is none."""

import asyncio
import io
import itertools
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server.http import sample_audio
from server.http.sample_audio import NONE, SampleAudio, sample_for
from server.settings import Settings
from tests.server.virtual import World
from tests.support.servers import whisper_ops
from whisper_ops import speech_synthesis, tone_language
from whisper_ops.errors import UserError


def settings(**more: Any) -> Settings:
    return replace(World.plain_settings(), **more)


def played(wav: bytes) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.int16]]]:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)


def asked(found: SampleAudio, *paths: str) -> list[httpx.Response]:
    from fastapi import FastAPI

    app = FastAPI()
    app.include_router(sample_audio.router(found))

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://there") as http:
            return [await http.get(path) for path in paths]

    return asyncio.run(main())


def test_a_simulated_server_plays_the_words_that_it_says_it_plays() -> None:
    described, sound = asked(sample_for(settings()), "/sample", "/sample.wav")
    rate, samples = played(sound.content)
    assert rate == tone_language.RATE
    heard = [word.word for word in tone_language.heard((samples / np.float32(32768)).astype(np.float32))]
    assert described.json() == {"available": True, "kind": "tones", "text": " ".join(heard), "reason": None}


def test_a_file_is_played_as_the_server_hears_it(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.repeat(tone_language.track(0, 16000)[::2], 2).tobytes())
    described, sound = asked(sample_for(settings(sample=path)), "/sample", "/sample.wav")
    assert described.json()["kind"] == "file"
    rate, samples = played(sound.content)
    assert rate == 16000
    assert abs(len(samples) - 16000) < 200


def test_without_a_voice_it_is_said_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_synthesis, "missing", lambda: ["piper-tts"])
    found = sample_for(settings(engine="ctranslate2"))
    assert found is NONE
    described, sound = asked(found, "/sample", "/sample.wav")
    assert described.json()["available"] is False
    assert "--sample FILE" in described.json()["reason"]
    assert sound.status_code == 404
    assert sound.json()["error"] == described.json()["reason"]


def test_a_voice_that_fails_is_an_answer_and_is_asked_again() -> None:
    tries = itertools.count()

    def make() -> bytes:
        if next(tries) == 0:
            raise UserError("piper spoke 0 of 3 sentences: no space left")
        return b"RIFF"

    failed, then, kept = asked(SampleAudio("voice", None, make), "/sample.wav", "/sample.wav", "/sample.wav")
    assert (failed.status_code, failed.json()["error"]) == (503, "piper spoke 0 of 3 sentences: no space left")
    assert then.content == kept.content == b"RIFF"


@pytest.mark.speech
def test_a_voice_reads_what_it_says_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_audio, "VOICE_SECONDS", 110.0)  # the machine may be busy with other tests
    found = sample_for(settings(engine="ctranslate2"))
    described, sound = asked(found, "/sample", "/sample.wav")
    assert described.json()["kind"] == "voice"
    rate, samples = played(sound.content)
    words = len(described.json()["text"].split())
    assert 1.5 < words / (len(samples) / rate) < 5
    assert np.abs(samples.astype(np.int32)).max() > 3000


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"", "is not "),
        (b"no sound at all", "is not "),
        ("long", "more than 120 seconds"),
        ("silent header", "no audio"),
    ],
)
def test_a_sample_that_cannot_be_played_is_one_sentence(
    tmp_path: Path, content: bytes | str | None, complaint: str
) -> None:
    path = tmp_path / "sample.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 8000 * 125 if content == "long" else 0))
    with pytest.raises(UserError, match=complaint) as raised:
        sample_for(settings(sample=path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_command_says_so_before_it_listens(tmp_path: Path) -> None:
    done = whisper_ops("serve", "--engine", "simulated", "--devices", "sim:1", "--sample", str(tmp_path / "none.wav"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("none.wav cannot be read: No such file or directory")
    assert "Traceback" not in done.stderr
