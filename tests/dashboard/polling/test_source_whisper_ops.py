"""A whisper-ops server is read in base units, and every bad answer is one sentence with the address in it."""

import asyncio
import re
import ssl
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from tests.dashboard.sockets import Answer, answering, broken_off, http, listening, said
from whisper_ops import wire
from whisper_ops.histogram import BUCKETS
from whisper_ops.server_names import default_name
from whisper_ops.snapshot_client.http_client import Access
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.snapshot_client.source import SourceError


async def read(answer: Answer, *, token: str | None = None) -> WhisperOpsSource:
    async with listening(answer) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}", access=Access(token))
        try:
            await source.read()
        finally:
            await source.close()
        return source


async def test_a_healthy_server_is_read_in_base_units() -> None:
    requests: list[bytes] = []
    before = time.time()
    async with listening(answering(lambda: http(wire.encode(said())), requests)) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}/", access=Access("secret-token"))
        snapshot = await source.read()
        again = await source.read()
        await source.close()
    assert snapshot.server == f"127.0.0.1:{port}"
    assert before <= snapshot.at <= again.at <= time.time()
    assert snapshot.state == "live"
    assert snapshot.identity is not None
    assert snapshot.identity.simulated
    assert snapshot.figures is not None
    assert (snapshot.figures.slots, snapshot.figures.slots_used, snapshot.figures.rejected_total) == (8, 2, 1)
    assert [gpu.gpu_ratio for gpu in snapshot.gpus] == [0.4, 0.4]
    assert source.remarks.take_new() == []
    assert b"GET /snapshot HTTP/1.1" in requests[0]
    assert b"uthorization: Bearer secret-token" in requests[0]
    assert "secret" not in msgspec.json.encode(snapshot).decode()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (answering(lambda: http(b"<html>hello", kind="text/html")), r"answered HTML, not JSON"),
        (answering(lambda: http(wire.encode(said())[:200])), r"JSON that is cut off or broken"),
        (broken_off(http(b'{"health":', length=5000)), r"broke off or spoke no HTTP"),
        (broken_off(b"SSH-2.0-OpenSSH_9.2\r\n"), r"broke off or spoke no HTTP"),
        (broken_off(b""), r"broke off or spoke no HTTP"),
        (answering(lambda: http(b"", status="401 Unauthorized")), r"refused the token \(401\); give one with"),
        (answering(lambda: http(b"", status="404 Not Found")), r"has no /snapshot \(404\)"),
        (answering(lambda: http(b"", status="302 Found")), r"redirects elsewhere \(302\)"),
        (answering(lambda: http(b"", status="304 Not Modified")), r"/snapshot answered 304"),
        (answering(lambda: http(b'{"health":' + b'{"a":' * 200_000)), r"nested too deeply"),
        (answering(lambda: http(b'{"more":' + b"[" * 200_000)), r"nested too deeply"),
        (answering(lambda: http(b"", status="500 Oops")), r"/snapshot answered 500"),
        (answering(lambda: http(b'{"status": "ok"}')), r"something else than a whisper-ops server"),
        (answering(lambda: http(b"[]" + b" " * 5_000_000)), r"more than 4 MiB"),
    ],
)
async def test_a_bad_answer_is_one_sentence_with_the_address(answer: Answer, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence) as caught:
        await read(answer)
    assert "127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_nobody_there_and_an_unknown_host() -> None:
    async with listening(answering(lambda: b"")) as port:
        pass
    with pytest.raises(SourceError, match=f"connection refused by 127.0.0.1:{port}"):
        await WhisperOpsSource(f"http://127.0.0.1:{port}").read()
    with pytest.raises(SourceError, match=r"unknown host no-such-host\.invalid"):
        await WhisperOpsSource("http://no-such-host.invalid:8000").read()


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_a_certificate_nobody_vouches_for_and_http_behind_https(self_signed: ssl.SSLContext) -> None:
    async with listening(answering(lambda: http(b"{}")), tls=self_signed) as port:
        with pytest.raises(SourceError, match=r"TLS: the certificate of 127.0.0.1:\d+ is not trusted: self"):
            await WhisperOpsSource(f"https://127.0.0.1:{port}").read()
    async with listening(hello_there) as port:
        with pytest.raises(SourceError, match=r"TLS with 127.0.0.1:\d+ failed.*does it speak https"):
            await WhisperOpsSource(f"https://127.0.0.1:{port}").read()


async def hello_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def test_numbers_as_text_are_read_said_once_and_counted() -> None:
    body = re.sub(rb'"total_slots":(\d+)', rb'"total_slots":"\1"', wire.encode(said()))
    async with listening(answering(lambda: http(body))) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}")
        snapshot = await source.read()
        await source.read()
        await source.close()
    assert snapshot.figures is not None
    assert snapshot.figures.slots == 8
    (remark,) = source.remarks.take_new()
    assert "numbers as text" in remark
    assert "total_slots" in remark
    assert source.remarks.take_new() == []
    assert source.remarks.counts == {"numbers as text": 2}


async def test_a_number_that_is_no_number_is_an_error_with_its_place() -> None:
    body = wire.encode(said()).replace(b'"total_slots":8', b'"total_slots":"many"')
    with pytest.raises(SourceError, match=r"total_slots"):
        await read(answering(lambda: http(body)))


@pytest.mark.parametrize(("offset", "word"), [(3600.0, "ahead of"), (-3600.0, "behind")])
async def test_a_clock_an_hour_off_is_said_once_and_rows_carry_our_time(offset: float, word: str) -> None:
    body = wire.encode(said(at=time.time() + offset))
    async with listening(answering(lambda: http(body))) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}")
        snapshot = await source.read()
        await source.read()
        await source.close()
    assert abs(snapshot.at - time.time()) < 60
    (remark,) = source.remarks.take_new()
    assert word in remark
    assert source.remarks.counts == {"clock": 2}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://one:8000", "one:8000"),
        ("https://user:password@one.example/asr/?token=abc", "one.example/asr"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ],
)
def test_the_name_of_a_server_holds_no_secret(url: str, name: str) -> None:
    assert default_name(url) == name


@pytest.mark.parametrize(("active", "lag", "speaking"), [(0, None, 0), (1, 0.4, 2), (3, 0.4, 6)])
async def test_figures_of_streams_that_are_gone_are_not_shown(active: int, lag: float | None, speaking: int) -> None:
    """`speaking`: three are said to speak on each of two GPUs, however many are connected there."""
    told = said(active=active)
    gpus = tuple(msgspec.structs.replace(gpu, speaking_streams=3, lag_seconds_p95=0.4) for gpu in told.gpu_status.gpus)
    told = msgspec.structs.replace(told, gpu_status=msgspec.structs.replace(told.gpu_status, gpus=gpus))
    async with listening(answering(lambda: http(wire.encode(told)))) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}")
        read = await source.read()
        await source.close()
    assert read.figures is not None
    assert read.figures.lag_p95_seconds == lag
    assert read.figures.streams_speaking == speaking
    assert [gpu.lag_p95_seconds for gpu in read.gpus] == [lag, lag]
    assert [gpu.streams_speaking for gpu in read.gpus] == [min(3, active)] * 2


async def test_servers_that_take_turns_behind_one_address_are_told_apart_and_said() -> None:
    """Their counts are never subtracted from each other's: 300 lags of long ago are none of this minute."""
    counts = {"a": 0, "b": 300}
    order = iter("aabbaab")

    def answer() -> bytes:
        name = next(order)
        counts[name] += 1
        full = (counts[name], *(0,) * (BUCKETS - 1))
        one = said()
        latency = msgspec.structs.replace(one.performance.latency, lag_bucket_counts=full)
        performance = msgspec.structs.replace(one.performance, latency=latency)
        return http(wire.encode(msgspec.structs.replace(one, performance=performance, server_id=name)))

    async with listening(answering(answer)) as port:
        source = WhisperOpsSource(f"http://127.0.0.1:{port}")
        found = [(await source.read()).figures for _ in range(4)]
        assert source.remarks.take_new() == [], "another process may be the server started again"
        found += [(await source.read()).figures for _ in range(3)]
        (remark,) = source.remarks.take_new()
        await source.close()
    new = [None if one is None or one.lag_bucket_counts is None else sum(one.lag_bucket_counts) for one in found]
    assert new == [None, 1, None, 1, 1, 1, 1]
    assert "is a balancer: 2 servers answer in turn" in str(remark)
