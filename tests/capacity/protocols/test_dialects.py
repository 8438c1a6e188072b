"""What each dialect's messages mean, from messages as the servers send them."""

import json

import numpy as np
import pytest

from capacity.protocols import PROTOCOLS, Client, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown
from capacity.protocols.native import NativeClient
from capacity.protocols.whisperlive import WhisperLiveClient
from capacity.protocols.whisperlivekit import WhisperLiveKitClient
from server import ipc
from server.protocols import native


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_dialect_keeps_the_protocol_and_names_nonsense(name: str) -> None:
    client = PROTOCOLS[name]()
    assert isinstance(client, Client)
    assert client.path.startswith("/")
    for nonsense in ("<html>", b"\xff\xfe", "[]", '"text"'):
        said = client.read(nonsense)
        assert isinstance(said, StreamFailed)
        assert "not a message" in said.reason


def partial(segment: int, text: str) -> str:
    """As the server words it."""
    said = ipc.Partial(stream=1, segment=segment, text=text, stable_chars=0, start=0.0, end=1.0, covered_s=1.0)
    return json.dumps(native.partial(said, 0.1))


def final(segment: int, text: str) -> str:
    said = ipc.Final(
        stream=1, segment=segment, text=text, start=0.0, end=1.0, covered_s=1.0, settled_s=1.0, delay_s=0.1
    )
    return json.dumps(native.final(said))


def test_native_finals_are_committed_in_order_and_partials_are_the_tail() -> None:
    client = NativeClient()
    assert client.read(json.dumps(native.status("connected", "Connected", 1.0))) is None
    told = native.ready("c", 1, server_id="s", total_gpus=2, setup_time_ms=3.0, resume_token="r")
    assert client.read(json.dumps(told)) == StreamReady(1, "c", "s", 2)
    assert client.read(json.dumps(native.undecoded(ipc.Undecoded(1, 0, 0.0, 1.0)))) is None
    assert client.read(partial(0, "We are")) == TextShown("", "We are")
    assert client.read(partial(1, "Is")) == TextShown("", "We are Is")
    assert client.read(final(1, "Is it?")) == TextShown("", "We are Is it?")
    assert client.read(final(0, "We are.")) == TextShown("We are. Is it?", "")
    # A partial of a segment that is final already changes nothing.
    assert client.read(partial(0, "We")) == TextShown("", "")
    assert client.read(json.dumps(native.done(ipc.Done(1, 1.0, 2)))) == StreamDone()


def test_native_refusals_and_faults_are_told_apart() -> None:
    client = NativeClient()
    for code in ("no_capacity", "draining", "lagging", "too_many_connections"):
        refused = native.failed(code, "not now", retry_after_s=5.0)
        assert client.read(json.dumps(refused)) == StreamRefused("not now")
    for code in ("bad_audio", "overloaded"):
        assert client.read(json.dumps(native.failed(code, "no good"))) == StreamFailed("no good")


def test_whisperlive_commits_each_completed_segment_once() -> None:
    client = WhisperLiveClient()
    assert client.read('{"uid":"u","message":"SERVER_READY","backend":"faster_whisper"}') == StreamReady()
    assert client.read('{"uid":"u","language":"en","language_prob":0.9}') is None
    one = {"start": "0.000", "end": "2.500", "text": " We are", "completed": True}
    two = {"start": "2.500", "end": "4.000", "text": " sorry for", "completed": False}
    assert client.read(json.dumps({"uid": "u", "segments": [{**one, "completed": False}]})) == TextShown("", "We are")
    assert client.read(json.dumps({"uid": "u", "segments": [one, two]})) == TextShown("We are", "sorry for")
    assert client.read(json.dumps({"uid": "u", "segments": [one, two]})) == TextShown("", "sorry for")
    assert client.read(json.dumps({"uid": "u", "segments": [one, {**two, "completed": True}]})) == TextShown(
        "sorry for", ""
    )


def test_whisperlive_says_full_broken_and_over() -> None:
    client = WhisperLiveClient()
    full = client.read('{"uid":"u","status":"WAIT","message":7.5}')
    assert isinstance(full, StreamRefused)
    assert "7.5 minutes" in full.reason
    assert client.read('{"uid":"u","status":"ERROR","message":"no such model"}') == StreamFailed("no such model")
    assert isinstance(client.read('{"uid":"u","message":"DISCONNECT"}'), StreamFailed)
    bad_time = {"start": "soon", "end": "later", "text": "x"}
    assert isinstance(client.read(json.dumps({"segments": [bad_time]})), StreamFailed)


def test_a_goodbye_after_the_end_of_the_sound_is_no_fault() -> None:
    client = WhisperLiveClient()
    assert client.ending() == (b"END_OF_AUDIO",)
    assert client.read('{"uid":"u","message":"DISCONNECT"}') == StreamDone()


def test_whisperlive_takes_floats_and_introduces_itself() -> None:
    client = WhisperLiveClient()
    floats = np.frombuffer(client.audio(np.array([0, 16384, -32768], dtype=np.int16)), dtype="<f4")
    assert floats.tolist() == [0.0, 0.5, -1.0]
    (hello,) = client.hello()
    assert {"uid", "language", "task", "model"} <= set(json.loads(hello))


def test_whisperlivekit_shows_lines_and_buffer_without_silence() -> None:
    client = WhisperLiveKitClient()
    assert client.read('{"type":"config","useAudioWorklet":false,"mode":"full"}') == StreamReady()
    update = {
        "status": "active_transcription",
        "lines": [
            {"speaker": 1, "text": "We are sorry", "start": "0:00:00", "end": "0:00:02"},
            {"speaker": -2, "text": None, "start": "0:00:02", "end": "0:00:03"},
        ],
        "buffer_transcription": " for the",
        "buffer_diarization": "",
    }
    assert client.read(json.dumps(update)) == TextShown("", "We are sorry  for the")
    assert client.read('{"type":"ready_to_stop"}') == StreamDone()
    assert client.read('{"type":"error","error":"bad mode"}') == StreamFailed("bad mode")
    assert client.ending() == (b"",)
