"""Files become samples in a process that can open nothing."""

import struct
import wave
from io import BytesIO

import pytest

from server.uploads import container_formats
from server.uploads.file_decoder import DecodeError, FileDecoder, memory_file
from tests.server.http.test_routes import _wav
from tests.support.media import FORMS, Form, media


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
