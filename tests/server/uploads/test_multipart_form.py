"""Forms within bounds of parts, bytes and time."""

import asyncio
from typing import Any

import httpx
import pytest

from server.uploads import multipart_form
from tests.server.http.test_routes import _wav, serving
from tests.server.uploads.form_client import PATH, post_form
from tests.server.virtual import World


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
        assert (await post_form(http)).status_code == 200
        assert (await post_form(http, _wav(3.0) + b"\0")).status_code == 413
        large = await http.post(PATH, content=b"", headers={"content-length": "99999999999"})
        assert large.status_code == 413

    serving(work)


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
