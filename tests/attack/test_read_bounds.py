"""What servers, exporters, webhooks and corpora send is read within bounds: bytes, elements, and time."""

import asyncio
import base64
import gc
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from capacity.corpus.audio_files import read_audio, write_wav
from capacity.corpus.clips import find_sources
from capacity.corpus.clips import load as load_corpus
from capacity.corpus.normalization import normalise
from capacity.corpus.tone_corpus import make_tones
from capacity.loadtest import target as targets
from capacity.tables import cells
from dashboard import time_input
from dashboard.alerts import Alert, AlertChange, notifications
from dashboard.polling.server_list import from_argument
from dashboard.tui.pages import filters
from tests.attack.test_figures import live_polls, recorder
from tests.dashboard.sockets import Answer, answering, http, listening, said, until
from whisper_ops import units, wire
from whisper_ops.errors import UserError
from whisper_ops.exporters import prometheus_client, prometheus_history
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.identity import Identity
from whisper_ops.objective import grammar
from whisper_ops.snapshot_client.exporter_source import PrometheusSource
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.snapshot_client.source import SourceError

ONCE = gzip.compress(bytes(100 * 2**20), 1)
THRICE = base64.b64decode(
    "H4sIAAAAAAACA5Pv5mAAASbmt3cW5gUXyrQ9LFuboWamtkzgsZpHmkcXY/cNkSTFmTMdFt1OWWBwh1NCj0GknKF4d0NqUmQA99K3"
    "vjqW7z/P+H/R/ufTJ7a/bKRz3/jk1fUcf93/dHp9fH76bmWg4QkPpoVPn3xWwqBq26+/r85qAoUMSt5/+77sduCDh29eej8HCjQc"
    "/P3l0Y+T3/gbdx/9vbIYKHLggey/vfPytzfEr37Prv6OESjU/N3dAOTaIBZmILnAFcyJAnMU3JA4ozKjMqMyozKjMqMyBGX0vn1P"
    "m6374PHfR4dfX1Su/vf2+c/bX63/819Jbz1z4g0/AwDYL/M5IwcAAA=="
)
"""A gigabyte of zeros, compressed three times."""


def compressed(body: bytes, layers: str, kind: str = "application/json") -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {layers}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def many_gpus(count: int) -> bytes:
    body = json.loads(wire.encode(said()))
    body["gpu_status"]["gpus"] = [{"gpu_id": i, "active_connections": 0} for i in range(count)]
    return json.dumps(body, separators=(",", ":")).encode()


DCGM_PAGE = "".join(f'DCGM_FI_DEV_GPU_TEMP{{gpu="{i}",UUID="GPU-{i}"}} 50\n' for i in range(200_000)).encode()
LABELS = ",".join(f'a{i}="b"' for i in range(100_000))
HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip thrice": ("", lambda: compressed(THRICE, "gzip, gzip, gzip")),
    "gzip once": ("", lambda: compressed(ONCE, "gzip")),
    "gzip in a page": ("node+", lambda: compressed(ONCE, "gzip", "text/plain")),
    "unasked": ("", lambda: compressed(b"x" * 100, "br")),
    "no gzip": ("", lambda: compressed(b"{}", "gzip")),
    "100,000 GPUs": ("", lambda: http(many_gpus(60_000))),
    "arrays in arrays": ("", lambda: http(b"[" * 3_000_000)),
    "an endless number": ("", lambda: http(b'{"a":' + b"9" * 3_000_000 + b"}")),
    "200,000 series": ("dcgm+", lambda: http(DCGM_PAGE, kind="text/plain")),
    "16 million lines": ("node+", lambda: http(b"\n" * 16_000_000, kind="text/plain")),
    "100,000 labels": ("node+", lambda: http(f"node_load1{{{LABELS}}} 1\n".encode(), kind="text/plain")),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_is_a_sentence(name: str) -> None:
    kind, answer = HOSTILE[name]
    async with listening(answering(answer)) as port:
        url = f"http://127.0.0.1:{port}"
        source = PrometheusSource(url, ready_made(kind.rstrip("+"))) if kind else WhisperOpsSource(url)
        with pytest.raises(SourceError) as caught:
            await source.read()
        await source.close()
    assert len(str(caught.value)) < 1000


def test_dash_once_of_a_bomb_takes_no_memory_to_speak_of() -> None:
    """271 bytes that were three gigabytes; here the process is not given one."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (700 * 2**20, 700 * 2**20))

    async def main() -> subprocess.CompletedProcess[str]:
        async with listening(answering(lambda: compressed(THRICE, "gzip, gzip, gzip"))) as port:
            words = [sys.executable, "-m", "whisper_ops", "dash", f"http://127.0.0.1:{port}", "--once"]
            return await asyncio.to_thread(
                lambda: subprocess.run(
                    words, capture_output=True, text=True, timeout=100, check=False, preexec_fn=limited
                )
            )

    ran = asyncio.run(main())
    assert ran.returncode == 3
    assert "sent a body in gzip, gzip, gzip, which nobody asked for" in ran.stderr
    assert "MemoryError" not in ran.stderr


async def test_hostile_servers_cost_a_good_one_no_poll_and_the_recorder_ends_when_told(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with listening(answering(lambda: http(wire.encode(said())))) as good:
        words, contexts = [f"good=http://127.0.0.1:{good}"], []
        for number, (kind, answer) in enumerate(HOSTILE.values()):
            context = listening(answering(answer))
            contexts.append(context)
            words.append(f"bad{number}={kind}http://127.0.0.1:{await context.__aenter__()}")
        async with recorder(history, *words) as process:
            await until(lambda: len(live_polls(history, "good")) > 8, 90)
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.wait_for(process.communicate(), 60)
        for context in contexts:
            await context.__aexit__(None, None, None)
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err, err.decode()
    assert not history.with_name("history.db.lock").exists()


async def test_a_large_page_is_read_while_everything_else_goes_on() -> None:
    page = "".join(f'other_metric_{i % 999}{{a="{i}"}} 1\n' for i in range(350_000)) + "node_load1 2.5\n"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    async with listening(answering(lambda: http(page.encode(), kind="text/plain"))) as port:
        source = PrometheusSource(f"http://127.0.0.1:{port}", ready_made("node"))
        answer = await source._http.get("/metrics")
        ticking = asyncio.create_task(tick())
        read = await source._http.parsed(answer, lambda: source._parse(answer))
        ticking.cancel()
        await source.close()
    assert list(read) == ["node_load1"]
    assert ticks > 3


async def test_a_page_that_is_given_up_while_it_is_read_leaves_no_traceback() -> None:
    loop, complaints = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    release = threading.Event()

    def parse() -> None:
        release.wait(30)
        raise SourceError("more than fits")

    async with listening(answering(lambda: http(b"x" * 100_000, kind="text/plain"))) as port:
        source = PrometheusSource(f"http://127.0.0.1:{port}", ready_made("node"))
        answer = await source._http.get("/metrics")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(source._http.parsed(answer, parse), 0.05)
        with pytest.raises(SourceError, match="more than can be read from one poll to the next"):
            await source._http.parsed(answer, parse)
        release.set()
        await until(lambda: source._http._reading is not None and source._http._reading.done())
        source._http._reading = None
        await source.close()
    gc.collect()
    assert complaints == []


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time, for ever."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a gigabyte and a half."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1500000000\r\n\r\n")
    for _ in range(1500):
        writer.write(bytes(1_000_000))
        await writer.drain()


async def dripping_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never come to the end of the head."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", [dripping, flooding, dripping_head])
async def test_a_hostile_webhook_stops_no_later_alert(how: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_WEBHOOK_SECONDS", 0.3)
    monkeypatch.setattr(notifications, "_PAUSE_SECONDS", 0.01)
    calls = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await how(reader, writer)

    alert = Alert(
        rule="r",
        severity="warning",
        server="s",
        since=1.0,
        value=1.0,
        minimum=1.0,
        mean=1.0,
        maximum=1.0,
        sentence="s: r",
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with listening(counted) as port:
        notifier = notifications.Notifier(lambda _: None, webhook=f"http://127.0.0.1:{port}")
        for _ in range(2):
            notifier.put(AlertChange("started", alert))
        running = asyncio.create_task(notifier.run())
        await asyncio.wait_for(notifier.drain(60), 61)
        assert notifier._waiting.empty()
        running.cancel()
    assert calls >= 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("how", [dripping, flooding, dripping_head])
async def test_a_sweep_gives_a_hostile_server_up(how: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_DEADLINE_SECONDS", 0.5)
    async with listening(how) as port:
        target = targets.parse_target(f"http://127.0.0.1:{port}")
        async with targets.open_source(target) as source:
            snapshot = await asyncio.wait_for(targets.poll_once(source), 30)
    assert snapshot.state == "silent"
    assert snapshot.error


async def test_an_import_gives_a_bomb_up() -> None:
    async with listening(answering(lambda: compressed(ONCE, "gzip"))) as port:

        def ask() -> None:
            with prometheus_client.asked(f"http://127.0.0.1:{port}") as server:
                list(
                    prometheus_history.polls(
                        server, [ready_made("node")], prometheus_client.QueryWindow(0, 5_000, 10), Identity()
                    )
                )

        with pytest.raises(UserError, match="sent more than 32 MiB"):
            await asyncio.to_thread(ask)


UNITS = ("[", "(", "<", " ", "1", "1 ", "a", "9,", "-", "\n", "x=", "$", "'", "1.", "lag", "twenty ", "\t ", "[(<")
READERS: dict[str, Callable[[str], object]] = {
    "a transcript": normalise,
    "an objective": grammar.parse,
    "a condition": grammar.condition,
    "a stored objective": grammar.readable,
    "a filter": filters.parse,
    "a moment": lambda text: time_input.parse(text, 0.0),
    "a length of time": units.seconds,
    "an amount": units.amount,
    "a rate": lambda text: units.rate(text, "--rate"),
    "a cell": cells.number,
    "an empty cell": cells.is_nothing,
    "an address": from_argument,
}


@pytest.mark.parametrize("reader", READERS)
def test_no_text_takes_a_pattern_long(reader: str) -> None:
    """Forty kilobytes took up to 73 s. All of these together may take as long as one of them should not."""
    began = time.monotonic()
    for unit in UNITS:
        for before in ("",) if reader == "a transcript" else ("", "lag>1", "p95<=2", "a", "1 h", "a=b+http://x"):
            for after in ("!", "x1") if before else ("!",):
                with suppress(UserError):
                    READERS[reader](before + unit * (40_000 // len(unit)) + after)
    assert time.monotonic() - began < 60


def test_a_transcript_keeps_its_words_whatever_stands_in_it() -> None:
    assert normalise("It's twenty five [laughs] dollars (really)") == normalise("it is 25 dollars")
    assert normalise("1" * 8000)
    assert len(normalise("word " * 100_000)) == 40_000


def test_a_corpus_with_traps_is_read_without_them(tmp_path: Path) -> None:
    folder = make_tones(tmp_path / "corpus", 2)
    good = {clip.name for clip in load_corpus(folder).clips}
    (tmp_path / "secret.txt").write_text("a canary")
    some = next(folder.glob("*.wav"))
    os.mkfifo(folder / "pipe.wav")
    os.mkfifo(folder / "text.txt")
    (folder / "text.wav").write_bytes(some.read_bytes())
    (folder / "list.mp3").write_text(f"ffconcat version 1.0\nfile {some}\n")
    with wave.open(str(folder / "slow.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(1)
        file.writeframes(bytes(2_000_000))
    (folder / "long.wav").write_bytes(some.read_bytes())
    (folder / "long.txt").write_bytes(b"word " * 1_000_000)
    for name in ("list", "slow", "pipe"):
        (folder / f"{name}.txt").write_text("some words\n")
    finished = threading.Event()

    def read() -> None:
        corpus = load_corpus(folder)
        assert {clip.name for clip in corpus.clips} == good
        assert len(corpus.unreadable) == 4, corpus.unreadable
        finished.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert finished.is_set()
    assert all("pipe.wav" not in str(source.audio) for source in find_sources(folder))


def test_a_sound_is_read_up_to_its_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr("capacity.corpus.audio_files.MAX_SECONDS", 1.0)
    write_wav(tmp_path / "a.wav", np.ones(16_000, dtype=np.int16), 16_000)
    write_wav(tmp_path / "b.wav", np.ones(16_001, dtype=np.int16), 16_000)
    assert len(read_audio(tmp_path / "a.wav", 16_000)) == 16_000
    with pytest.raises(UserError, match="lasts more than"):
        read_audio(tmp_path / "b.wav", 16_000)
