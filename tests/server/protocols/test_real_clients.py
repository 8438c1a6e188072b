"""Clients that other people wrote, against the real server: openai's, WhisperLive's and WhisperLiveKit's.

The server's engine is simulated and hears a language of tones, so that a test takes two seconds and every lost word
shows. WhisperLive and WhisperLiveKit bring torch with them: their clients run from .venv-peers, where `make
bench-server` and `make bench-peers` install them, and are skipped where it is not.
"""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.bench.peer import VENV
from tests.server.scenarios.test_streams import spoken
from tests.support.servers import Running, running_server
from whisper_ops.tone_language import track

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.01,load=0")
SECONDS = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("server"), *SIMULATED) as running:
        yield running


def _at_24_khz(seconds: float) -> bytes:
    samples = track(0, round(seconds * 16000))
    places = np.arange(round(seconds * 24000)) * 16000 / 24000
    return np.interp(places, np.arange(len(samples)), samples).astype("<i2").tobytes()


async def _realtime(server: Running, turn_detection: dict[str, Any] | None) -> list[Any]:
    client = AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1", websocket_base_url=f"ws{server.url[4:]}/v1")
    checked: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
    events = []
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        asked = {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "whisper-1"}}
        session: Any = {"type": "transcription", "audio": {"input": {**asked, "turn_detection": turn_detection}}}
        await connection.session.update(session=session)
        sound = _at_24_khz(SECONDS) + bytes(2 * 24000)
        for at in range(0, len(sound), 48000):
            await connection.input_audio_buffer.append(audio=base64.b64encode(sound[at : at + 48000]).decode())
        if turn_detection is None:
            await connection.input_audio_buffer.commit()
        async with asyncio.timeout(30):
            while True:
                # Their client takes whatever comes; their types say what should.
                events.append(checked.validate_json(await connection.recv_bytes()))
                if events[-1].type.endswith("completed"):
                    return events


@pytest.mark.parametrize("turn_detection", [{"type": "server_vad"}, None], ids=["server_vad", "commit"])
def test_openai_realtime(server: Running, turn_detection: dict[str, Any] | None) -> None:
    events = asyncio.run(_realtime(server, turn_detection))
    assert [event.type for event in events[:2]] == ["session.created", "session.updated"]
    assert events[1].session.type == "transcription"
    said = events[-1]
    assert said.transcript.split() == spoken(SECONDS)
    assert said.usage.type == "duration"
    assert said.usage.seconds == pytest.approx(SECONDS, abs=0.3)
    deltas = [event.delta for event in events if event.type.endswith("transcription.delta")]
    assert "".join(deltas) == said.transcript
    assert {event.item_id for event in events if event.type.endswith("committed")} == {said.item_id}


def _peer(module: str, script: str, *arguments: str) -> Any:
    """What a script prints as JSON in its last line, run with the peers' packages."""
    if not list(VENV.glob(f"lib/python*/site-packages/{module}")):
        pytest.skip(f"{module} is not in {VENV}: `make bench-peers` installs it (PyAudio needs portaudio19-dev)")
    command = [str(VENV / "bin/python"), "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_WHISPERLIVE = """
import json, sys, time
import numpy as np
from whisper_live.client import Client
port, path = sys.argv[1:]
told = []
class Stock(Client):
    def handle_status_messages(self, message):
        told.append(message)
        super().handle_status_messages(message)
client = Stock("127.0.0.1", int(port), lang="en", model="small", log_transcription=False)
until = time.time() + 20
while not client.recording and time.time() < until:
    time.sleep(0.01)
sound = np.load(path).astype("float32") / 32768
for at in range(0, len(sound), 4096):
    client.send_packet_to_server(sound[at:at + 4096].tobytes())
client.send_packet_to_server(b"END_OF_AUDIO")
client.ws_thread.join(20)
print()
print(json.dumps({"transcript": client.transcript, "disconnected": client._server_disconnect, "told": told,
                  "error": client.server_error and str(client.error_message)}))
"""


def test_whisperlive(server: Running, tmp_path: Path) -> None:
    sound = tmp_path / "sound.npy"
    np.save(sound, np.concatenate([track(0, 48000), np.zeros(16000, np.int16), track(64000, 48000)]))
    said = _peer("whisper_live", _WHISPERLIVE, str(server.port), str(sound))
    words = " ".join(segment["text"] for segment in said["transcript"]).split()
    assert words == [*spoken(3.0), *spoken(3.0, 4.0)]
    assert said["disconnected"]
    assert said["told"] == []  # a stock client asks for nothing that is not honoured
    # websocket-client 1.9 takes a close with 1000 for an error as well.
    assert not said["error"] or "closed normally" in said["error"]


_WHISPERLIVEKIT = """
import asyncio, importlib.util, json, sys
from pathlib import Path
import numpy as np
url, path, mode = sys.argv[1:]
# The package itself imports torch, and its client does not need it.
place = Path(importlib.util.find_spec("whisperlivekit").origin).with_name("test_client.py")
spec = importlib.util.spec_from_file_location("test_client", place)
test_client = importlib.util.module_from_spec(spec)
sys.modules["test_client"] = test_client
spec.loader.exec_module(test_client)
test_client.load_audio_pcm = lambda path: np.load(path).tobytes()  # theirs asks ffmpeg
result = asyncio.run(test_client.transcribe_audio(path, url, speed=0, mode=mode))
print(json.dumps({"text": result.committed_text, "lines": result.lines}))
"""


@pytest.mark.parametrize("mode", ["full", "diff"])
def test_whisperlivekit(server: Running, tmp_path: Path, mode: str) -> None:
    sound = tmp_path / "sound.npy"
    np.save(sound, np.concatenate([track(0, 48000), np.zeros(16000, np.int16), track(64000, 48000)]))
    said = _peer("whisperlivekit", _WHISPERLIVEKIT, f"ws://127.0.0.1:{server.port}/asr", str(sound), mode)
    assert said["text"].split() == [*spoken(3.0), *spoken(3.0, 4.0)]
    assert [line["speaker"] for line in said["lines"]] == [1, 1]
