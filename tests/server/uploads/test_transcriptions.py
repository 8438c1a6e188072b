"""Files for transcription: what is taken, what is asked of them, and what is answered."""

import asyncio
import json
import struct
import wave
from collections.abc import Callable, Coroutine
from io import BytesIO
from typing import Any

import httpx
import pytest

from server.settings import SimulatedLaw
from server.uploads import container_formats, multipart_form, transcription_job
from server.uploads.file_decoder import DecodeError, FileDecoder, memory_file
from server.uploads.file_queue import FileQueue
from tests.server.http.test_routes import _wav, serving
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import World, loud
from tests.support.media import FORMS, Form, media

PATH = "/v1/audio/transcriptions"
Work = Callable[[World, httpx.AsyncClient], Coroutine[Any, Any, None]]


def decoded(data: bytes, max_seconds: float = 7200) -> bytes:
    """The samples of a file, by way of the process that decodes it."""
    with memory_file() as file:
        file.write(data)
        file.seek(0)
        decoder = FileDecoder(file, max_seconds)
    try:
        return b"".join(iter(decoder.read, b""))
    finally:
        decoder.close()


def refused(data: bytes, max_seconds: float = 7200) -> str:
    with pytest.raises(DecodeError) as refusal:
        decoded(data, max_seconds)
    return str(refusal.value)


# --- the decoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_listed_container_is_decoded_where_neither_file_nor_socket_can_be_opened(form: Form) -> None:
    # The process shuts itself in before it reads (tests/attack shows how tightly): whatever comes out needed neither.
    pytest.importorskip("av")
    assert len(decoded(media(form))) / 32000 == pytest.approx(3.0, abs=0.06)


def test_a_tag_in_another_encoding_does_no_harm() -> None:
    pytest.importorskip("av")
    sound = media(Form("mp3", "libmp3lame", 44100))
    behind = sound[container_formats.tag_bytes(sound) :]
    title = b"\x03caf\xe9 \xff\xfe"  # declared as UTF-8, and none
    frame = b"TIT2" + struct.pack(">I", len(title)) + b"\0\0" + title
    assert len(decoded(b"ID3\x03\0\0\0\0\0" + bytes([len(frame)]) + frame + behind)) > 90_000
    info = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 5) + b"caf\xe9\0\0"
    wav = _wav(3.0)
    assert len(decoded(wav[:4] + struct.pack("<I", len(wav) + len(info) - 8) + wav[8:36] + info + wav[36:])) == 96000


@pytest.mark.parametrize("kind", ["flac", "adts"])
def test_a_tag_may_stand_before_any_container(kind: str) -> None:
    pytest.importorskip("av")
    sound = media(Form(kind, "aac" if kind == "adts" else "flac", 44100))
    assert len(decoded(b"ID3\x03\0\0\0\0\x01\x00" + bytes(128) + sound)) > 90_000


def test_rate_and_channels_may_change_on_the_way() -> None:
    pytest.importorskip("av")
    parts = [
        Form("adts", "aac", 44100, "mono"),
        Form("adts", "aac", 22050, "stereo"),
        Form("adts", "aac", 48000, "mono"),
    ]
    assert len(decoded(b"".join(media(part, 2.0) for part in parts))) / 32000 == pytest.approx(6.0, abs=0.3)
    chained = media(Form("ogg", "flac", 16000), 2.0) + media(Form("ogg", "flac", 48000, "stereo"), 2.0)
    assert len(decoded(chained)) / 32000 == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize("size", [0, 1, 3, 11, 12, 43, 44])
def test_a_file_that_is_cut_off_is_refused(size: int) -> None:
    assert "the file" in refused(_wav(1.0)[:size])


def test_damage_in_the_middle_costs_what_is_damaged() -> None:
    pytest.importorskip("av")
    sound = bytearray(media(Form("mp3", "libmp3lame", 44100), 6.0))
    sound[len(sound) // 2 : len(sound) // 2 + 2000] = b"\x55" * 2000
    assert len(decoded(bytes(sound))) / 32000 > 4.5


def test_a_file_that_claims_or_holds_too_much_is_refused() -> None:
    assert "more than 3 seconds" in refused(_wav(4.0), 3)
    # A stream without a length: it is counted.
    assert "more than 3 seconds" in refused(media(Form("adts", "aac", 44100), 6.0), 3)
    quiet = BytesIO()
    with wave.open(quiet, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    assert "no audio" in refused(quiet.getvalue())


def test_memory_and_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.uploads.file_decoder.SILENT_SECONDS", 0.0)
    assert "too much time or memory" in refused(_wav(1.0))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xff\xff\xff", None),
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0\n", None),
        (b"v=0\r\no=- 0 0 IN IP4", None),
        (b"<?xml version", None),
        (b"[playlist]", None),
        (b"", None),
    ],
)
def test_containers_are_told_by_their_first_bytes(head: bytes, name: str | None) -> None:
    assert container_formats.demuxer(head) == name


# --- the form --------------------------------------------------------------------------------------------


async def _post(http: httpx.AsyncClient, sound: bytes = b"", **fields: Any) -> httpx.Response:
    upload = {"file": ("a.wav", sound or _wav(3.0))}
    return await http.post(PATH, data={name.replace("__", "[]"): value for name, value in fields.items()}, files=upload)


GRAINS = "timestamp_granularities__"
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "model": ({"model": "gpt-4o-transcribe"}, 404, "model"),
    "prompt": ({"prompt": "Names."}, 400, "prompt"),
    "temperature": ({"temperature": "0.4"}, 400, "temperature"),
    "no number": ({"temperature": "warm"}, 400, "temperature"),
    "format": ({"response_format": "diarized_json"}, 400, "response_format"),
    "stream of text": ({"stream": "true", "response_format": "srt"}, 400, "response_format"),
    "stream": ({"stream": "maybe"}, 400, "stream"),
    "grain": (
        {"timestamp_granularities__": "letter", "response_format": "verbose_json"},
        400,
        "timestamp_granularities",
    ),
    "grain alone": ({GRAINS: "word"}, 400, "timestamp_granularities"),
    "include": ({"include__": "logprobs"}, 400, "include"),
    "speakers": ({"known_speaker_names__": ["a", "b"]}, 400, "known_speaker_names"),
    "keywords": ({"keywords__": ["a"]}, 400, "keywords"),
    "languages": ({"languages__": ["de", "en"]}, 400, "languages"),
    "language": ({"language": "klingon"}, 400, "language"),
    "languages twice": ({"language": ["de", "en"]}, 400, "language"),
    "chunking": ({"chunking_strategy": "manual"}, 400, "chunking_strategy"),
    "chunking bounds": ({"chunking_strategy": '{"type":"server_vad","threshold":9}'}, 400, "chunking_strategy"),
    "chunking deep": ({"chunking_strategy": "[" * 9999}, 400, "chunking_strategy"),
    "chunking field": (
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[loud]": "1"},
        400,
        "chunking_strategy",
    ),
    "unknown": ({"hotwords": "x"}, 400, "hotwords"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_parameter_that_is_not_honoured_is_an_error_of_openais_shape(name: str) -> None:
    fields, status, param = REFUSED[name]

    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await _post(http, **fields)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert world.hub.slots.used == 0

    serving(work)


SERVED: list[dict[str, Any]] = [
    {"model": "whisper-1", "temperature": "0", "prompt": "", "language": "en", "stream": "false"},
    {"model": "simulated", "chunking_strategy": "auto"},
    {"chunking_strategy": '{"type":"server_vad","silence_duration_ms":400}'},
    {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.5"},
]


@pytest.mark.parametrize("fields", SERVED)
def test_what_is_honoured_is_served(fields: dict[str, Any]) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await _post(http, **fields)
        assert answer.json() == {"text": " ".join(spoken(3.0)), "usage": {"type": "duration", "seconds": 3.0}}

    serving(work)


@pytest.mark.parametrize("grains", [[], ["word"], ["segment"], ["word", "segment"]])
@pytest.mark.parametrize("name", ["timestamp_granularities__", "timestamp_granularities"])
def test_words_and_segments_are_what_was_asked_for(grains: list[str], name: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        fields: dict[str, Any] = {name: grains}
        said = (await _post(http, response_format="verbose_json", **fields)).json()
        assert ("words" in said) == ("word" in grains)
        assert ("segments" in said) == (grains != ["word"])
        assert (said["task"], said["language"], said["duration"]) == ("transcribe", "english", 3.0)
        if "words" in said:
            assert [word["word"] for word in said["words"]] == spoken(3.0)
            assert said["words"][4]["end"] == pytest.approx(1.9, abs=0.05)
            assert set(said["words"][0]) == {"word", "start", "end"}

    serving(work)


def test_subtitles() -> None:
    sound = _wav(0.0)[:40] + struct.pack("<I", 2 * 160_000) + loud(48000) + bytes(64000) + loud(80000, 96000 - 16000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        srt, vtt = [(await _post(http, sound, response_format=answer)).text for answer in ("srt", "vtt")]
        head, *cues = srt.strip().split("\n\n")
        assert head.startswith("1\n00:00:00,000 --> 00:00:0")
        assert len(cues) >= 1
        assert cues[0].startswith("2\n00:00:0")
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
        assert vtt.split()[5:9] == spoken(3.0)[1:5]

    serving(work)


def test_a_stream_of_events_ends_with_all_the_text() -> None:
    sound = _wav(0.0)[:40] + struct.pack("<I", 2 * 160_000) + loud(48000) + bytes(64000) + loud(80000, 80000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await _post(http, sound, stream="true")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
        deltas = [event["delta"] for event in events if event["type"] == "transcript.text.delta"]
        assert len(deltas) > 1
        assert events[-1] == {"type": "transcript.text.done", "text": "".join(deltas)}
        assert world.hub.slots.used == 0
        answer = await _post(http, b"RIFF0000WAVE" + bytes(100), stream="true")
        assert answer.text.startswith('data: {"error":')

    serving(work)


# --- bounds ----------------------------------------------------------------------------------------------


def _part(name: str, value: bytes, more: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), more, value)


FILE = b'; filename="a.wav"'
NESTED = b"--y\r\n\r\nhello\r\n--y--"
FORMS_OF_NO_USE = {
    "no form": (b"hello", "text/plain"),
    "no boundary": (b"hello", "multipart/form-data"),
    "a long boundary": (b"hello", "multipart/form-data; boundary=" + "x" * 5000),
    "nothing": (b"", "multipart/form-data; boundary=x"),
    "no end": (_part("file", _wav(1.0), FILE)[:-30], "multipart/form-data; boundary=x"),
    "no file": (_part("model", b"whisper-1") + b"--x--\r\n", "multipart/form-data; boundary=x"),
    "a field as file": (_part("file", _wav(1.0)) + b"--x--\r\n", "multipart/form-data; boundary=x"),
    "two files": (_part("file", _wav(1.0), FILE) * 2 + b"--x--\r\n", "multipart/form-data; boundary=x"),
    "another file": (_part("image", _wav(1.0), FILE) + b"--x--\r\n", "multipart/form-data; boundary=x"),
    "an empty file": (_part("file", b"", FILE) + b"--x--\r\n", "multipart/form-data; boundary=x"),
    "many parts": (_part("a", b"") * 10_000, "multipart/form-data; boundary=x"),
    "many headers": (b"--x\r\n" + b"A: b\r\n" * 1000, "multipart/form-data; boundary=x"),
    "a long header": (b"--x\r\nA: " + b"b" * 100_000, "multipart/form-data; boundary=x"),
    "a long field": (_part("prompt", b"x" * 100_000), "multipart/form-data; boundary=x"),
    "nested": (
        _part("file", NESTED, FILE + b"\r\nContent-Type: multipart/mixed; boundary=y") + b"--x--\r\n",
        "multipart/form-data; boundary=x",
    ),
    "no name": (b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    "another charset": (_part("model", b"\xe9") + b"--x--\r\n", "multipart/form-data; boundary=x; charset=nonsense"),
}


@pytest.mark.parametrize("name", FORMS_OF_NO_USE)
def test_a_form_that_is_none_is_a_sentence(name: str) -> None:
    body, kind = FORMS_OF_NO_USE[name]

    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=body, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
        assert world.hub.slots.used == 0

    serving(work)


def test_a_file_may_have_25_mib_and_no_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert multipart_form.MAX_BYTES == 25 << 20
    monkeypatch.setattr(multipart_form, "MAX_BYTES", 96_044)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        assert (await _post(http)).status_code == 200
        assert (await _post(http, _wav(3.0) + b"\0")).status_code == 413
        large = await http.post(PATH, content=b"", headers={"content-length": "99999999999"})
        assert large.status_code == 413

    serving(work)


def test_nothing_is_read_before_there_is_a_slot() -> None:
    taken = 0

    async def body() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(1000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        await world.client().connected()
        answer = await http.post(PATH, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_capacity"
        assert int(answer.headers["retry-after"]) > 0
        assert taken == 0

    serving(work, devices=1, max_connections_per_gpu=1)


@pytest.mark.parametrize(
    ("pause", "size", "after"),
    [(100.0, 10, 30.0), (4.0, 10, 30.0), (1.0, 16 << 10, 60.0)],
    ids=["stalled", "by drops", "slow"],
)
def test_an_upload_may_not_take_for_ever(pause: float, size: int, after: float) -> None:
    async def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while True:
            await asyncio.sleep(pause)
            yield bytes(size)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        began = world.loop.time()
        answer = await http.post(PATH, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 408
        assert world.loop.time() - began == pytest.approx(after, abs=2)
        assert world.hub.slots.used == 0

    serving(work)


def test_a_machine_that_has_nothing_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        for place in ("server.uploads.multipart_form.memory_file", "server.uploads.transcription_job.FileDecoder"):
            with monkeypatch.context() as patch:
                patch.setattr(place, nothing)
                answer = await _post(http)
            assert answer.status_code == 503
            assert "Too many open files" in answer.json()["error"]["message"]
            assert world.hub.slots.used == 0
        assert (await _post(http)).status_code == 200

    serving(work)


def test_an_engine_that_fails_is_no_silent_hole_in_the_text() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await _post(http)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "decode_failed"
        assert world.hub.slots.used == 0
        assert world.hub.counters.failed == 1

    serving(work, law=SimulatedLaw(fault_every=1))


def test_only_a_few_files_are_in_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription_job, "FILES_AT_ONCE", 3)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, world.hub.slots.used)
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        sound = _wav(60.0)
        answers = await asyncio.gather(*(_post(http, sound) for _ in range(6)))
        watching.cancel()
        assert [answer.status_code for answer in answers] == [200] * 6
        assert most == 2, "of one address one less than there are"

    serving(work, law=SimulatedLaw(a_seconds=0.05, b_seconds=0))


def test_files_of_one_address_keep_nobody_else_out() -> None:
    async def slow() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        await asyncio.sleep(25)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        form_of_x = {"content-type": "multipart/form-data; boundary=x"}
        asking = [asyncio.create_task(http.post(PATH, content=slow(), headers=form_of_x)) for _ in range(12)]
        await asyncio.sleep(0.1)
        assert world.hub.slots.used == transcription_job.FILES_AT_ONCE - 1
        for k in range(3):
            transport = httpx.ASGITransport(world.app, client=(f"10.0.0.{k}", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://there:8000") as other:
                assert (await _post(other)).status_code == 200
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert (await _post(http)).status_code == 200
        assert world.hub.slots.used == 0

    serving(work)


async def test_turns_of_files_are_taken_by_those_with_fewest_and_none_is_lost() -> None:
    turns, began = FileQueue(3), list[str]()

    async def hold(address: str, seconds: float = 60) -> None:
        async with turns.turn(address, seconds):
            began.append(address)
            await asyncio.sleep(60)

    tasks = {name: asyncio.create_task(hold(name[0])) for name in ("a1", "a2", "a3", "b1", "c1")}
    late = asyncio.create_task(hold("d", 0.05))
    await asyncio.sleep(0.005)
    assert began == ["a", "a", "b"]
    with pytest.raises(TimeoutError):
        await late
    for done, then in (("a1", "c"), ("a2", "a"), ("a3", None), ("b1", None), ("c1", None)):
        tasks[done].cancel()
        await asyncio.sleep(0.005)
        assert then is None or began[-1] == then
    assert turns._free == 3
    assert not turns._held
    assert not turns._waiting
