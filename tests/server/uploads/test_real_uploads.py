"""Files from clients that other people wrote, to the real server: openai's, curl, Python's http.client."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.server.http.test_routes import _wav
from tests.server.scenarios.test_streams import spoken
from tests.support.media import Form, media
from tests.support.servers import Running, running_server

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.01,load=0")
PATH = "/v1/audio/transcriptions"
LONG_SECONDS = 66.0
"""Of WAV: 2 MB."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("server"), *SIMULATED) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    path.write_bytes(_wav(LONG_SECONDS))
    return path


def _file(seconds: float = 3.0) -> tuple[str, bytes]:
    return "a.wav", _wav(seconds)


@pytest.mark.parametrize("answer", ["json", "text", "srt", "vtt"])
def test_openai(client: OpenAI, answer: Any) -> None:
    said: Any = client.audio.transcriptions.create(
        file=_file(), model="whisper-1", response_format=answer, language="EN"
    )
    text = said if isinstance(said, str) else said.text
    assert set(spoken(3.0)) <= set(text.split())


def test_openai_words_and_segments(client: OpenAI) -> None:
    said = client.audio.transcriptions.create(
        file=_file(), model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert [word.word for word in said.words or []] == spoken(3.0)
    assert (said.language, said.duration) == ("english", 3.0)
    assert (said.segments or [])[0].text.split() == spoken(3.0)
    assert said.usage is not None
    assert said.usage.seconds == 3.0


def test_openai_stream(client: OpenAI) -> None:
    events = list(client.audio.transcriptions.create(file=_file(20.0), model="whisper-1", stream=True))
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert done.text.split() == spoken(20.0)
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text


def test_openai_chunking(client: OpenAI) -> None:
    vad: Any = {"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.5, "prefix_padding_ms": 100}
    for strategy in ("auto", vad):
        said = client.audio.transcriptions.create(file=_file(), model="whisper-1", chunking_strategy=strategy)
        assert said.text.split() == spoken(3.0)


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"model": "gpt-4o-transcribe"}, "model", "model_not_found"),
        ({"prompt": "Names."}, "prompt", "unsupported_value"),
        ({"temperature": 0.5}, "temperature", "unsupported_value"),
        ({"include": ["logprobs"]}, "include", "unsupported_value"),
        ({"language": "xx"}, "language", "unsupported_language"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "unsupported_value"),
        ({"chunking_strategy": {"type": "server_vad", "threshold": 7}}, "chunking_strategy", "unsupported_value"),
        ({"known_speaker_names": ["a"]}, "known_speaker_names", "unsupported_value"),
        ({"extra_body": {"hotwords": "x"}}, "hotwords", "unknown_parameter"),
    ],
)
def test_openai_is_told_what_is_not_honoured(client: OpenAI, asked: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as refused:
        client.audio.transcriptions.create(**{"file": _file(), "model": "whisper-1"} | asked)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_openai_formats(client: OpenAI) -> None:
    pytest.importorskip("av")
    for form in (
        Form("mp3", "libmp3lame", 44100, "stereo"),
        Form("ipod", "aac", 44100),
        Form("webm", "libopus", 48000),
    ):
        said = client.audio.transcriptions.create(file=("x", media(form)), model="whisper-1")
        assert said.text, form


@pytest.mark.parametrize("expect", [True, False])
def test_curl_with_two_megabytes(server: Running, long_file: Path, expect: bool) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed; `make system-packages` installs it")
    headers = [] if expect else ["-H", "Expect:"]
    for _ in range(2):
        command = [curl, "-sS", "-f", *headers, "-F", f"file=@{long_file}", "-F", "model=whisper-1", server.url + PATH]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["text"].split() == spoken(LONG_SECONDS)


def test_http_client_sends_head_and_body_at_once(server: Running) -> None:
    for seconds in (2.5, 5.0, 20.0):
        part = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            + _wav(seconds)
            + b"\r\n--x--\r\n"
        )
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.connect()
            connection.sock.sendall(f"{head}Content-Length: {len(part)}\r\n\r\n".encode() + part)
            answer = http.client.HTTPResponse(connection.sock, method="POST")
            answer.begin()
            assert answer.status == 200
            assert json.loads(answer.read())["text"].split() == spoken(seconds)
            connection.close()


def test_a_refusal_reaches_who_is_still_sending(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    connection.request("POST", PATH, body=bytes(27 << 20), headers=headers)
    answer = connection.getresponse()
    assert answer.status == 413
    assert "25 MiB" in json.loads(answer.read())["error"]["message"]
    connection.close()
