"""Files that point elsewhere, that are no files, or too many of them: an upload reaches nothing but its own bytes."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil
import pytest

from server.uploads.file_decoder import DecodeError
from tests.attack.harness import Siege, besieged, examples, tcp
from tests.server.http.test_routes import _wav
from tests.server.uploads.test_file_decoder import decoded, refused
from tests.support.media import FORMS, Form, media
from whisper_ops.tone_language import VOCABULARY

PATH = "/v1/audio/transcriptions"


# --- files and sockets -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with speech in it, which nobody who uploads may hear."""
    path = tmp_path_factory.mktemp("private") / "canary.wav"
    path.write_bytes(_wav(4.0))
    return path


def _references(target: Path) -> Iterator[tuple[str, bytes]]:
    """Files of every kind we know that only points at another one."""
    plain, url = str(target), target.as_uri()
    yield "ffconcat", f"ffconcat version 1.0\nfile '{plain}'\n".encode()
    yield "ffconcat, bare", f"file {plain}\n".encode()
    yield "ffconcat, relative", f"ffconcat version 1.0\nfile {os.path.relpath(target)}\n".encode()
    yield "m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{url}\n#EXT-X-ENDLIST\n".encode()
    yield "m3u8, key", f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:4,\n{url}\n'.encode()
    yield "pls", f"[playlist]\nFile1={plain}\nNumberOfEntries=1\n".encode()
    yield "xspf", f"<playlist><trackList><track><location>{url}</location></track></trackList></playlist>".encode()
    yield "dash", f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>'.encode()
    yield "imf", f'<?xml version="1.0"?><AssetMap><Path>{plain}</Path></AssetMap>'.encode()
    yield "concat", f"concat:{plain}|{plain}".encode()
    yield "subfile", f"subfile,,start,0,end,0,,:{plain}".encode()
    yield "tag before a playlist", b"ID3\x03\0\0\0\0\0\0" + f"ffconcat version 1.0\nfile '{plain}'\n".encode()
    yield "playlist in a riff", b"RIFF\x20\0\0\0WAVE" + f"#EXTM3U\n{url}\n".encode()
    yield "lavfi", f"amovie={plain}".encode()


def test_a_reference_is_not_followed_and_tells_nothing_of_what_is_there(
    canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(canary.parent)  # a playlist may name what lies beside the process without a path
    missing = canary.with_name("missing.wav")
    for (name, there), (_, gone) in zip(_references(canary), _references(missing), strict=True):
        answers = []
        for data in (there, gone):
            began = time.monotonic()
            answers.append(refused(data))
            assert time.monotonic() - began < 30, name
        assert answers[0] == answers[1], name
        assert "canary" not in answers[0], name
        assert str(canary.parent) not in answers[0], name


def test_a_movie_that_refers_to_another_file_gives_its_own_bytes_or_nothing(canary: Path) -> None:
    movie = media(Form("mov", "pcm_s16le", 16000), 0.2)
    at = movie.index(b"dref") + 12
    assert movie[at + 4 : at + 8] == b"url "
    path = str(canary).encode()
    # An alias record with the path in it, where it said "in this file".
    alias = b"alis\0\0\0\0" + bytes(150) + b"\0\x12" + len(path).to_bytes(2, "big") + path + b"\xff\xff\0\0"
    entry = (len(alias) + 4).to_bytes(4, "big") + alias
    with suppress(DecodeError):
        assert len(decoded(movie[:at] + entry + movie[at + 12 :])) < 10_000


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    for name, data in _references(fifo):
        assert refused(data), name
        with pytest.raises(OSError, match="No such device"):  # nobody reads it
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def test_a_session_description_opens_no_socket() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        port = ours.getsockname()[1]
        text = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        before = len(psutil.net_connections("udp"))
        assert "is no" in refused(text.encode())
        assert len(psutil.net_connections("udp")) <= before


_SHUT_IN = """
import ctypes, errno, os, socket, sys
from server.uploads import decode_process, sandbox
decode_process._import_all()
sandbox.shut_in()
def attempt(name, work):
    try: result = work()
    except (OSError, MemoryError) as error: sys.stdout.write(f"{name} {getattr(error, 'errno', 12)}\\n")
    else: sys.stdout.write(f"{name} done {result}\\n")
libc = ctypes.CDLL(None, use_errno=True)
def raw(call, *arguments):
    if libc.syscall(call, *arguments) < 0: raise OSError(ctypes.get_errno(), "")
attempt("open", lambda: open("/etc/passwd"))
attempt("listdir", lambda: os.listdir("/"))
attempt("create", lambda: open("/tmp/whisper-ops-test", "w"))
attempt("fifo", lambda: os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK))
attempt("tcp", lambda: socket.socket())
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("pipe", os.pipe)
attempt("dup", lambda: os.dup(0))
attempt("memfd", lambda: os.memfd_create("x"))
attempt("memory", lambda: bytearray(1 << 30))
"""


def test_the_decoder_is_shut_in_before_it_reads(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    done = subprocess.run(
        [sys.executable, "-c", _SHUT_IN, str(fifo)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    results = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(results) == 11
    assert set(results.values()) <= {"24", "12"}, results
    assert results["open"] == results["tcp"] == results["udp"] == "24"


def test_even_the_playlist_demuxer_finds_nothing_in_there(canary: Path) -> None:
    """The list of containers is one wall, the process another: without the first the second holds."""
    script = (
        "import os, av\nfrom server.uploads import decode_process, sandbox\ndecode_process._import_all()\n"
        "%s\n"
        "try:\n"
        "    source = decode_process.FileWindow(0, os.lseek(0, 0, os.SEEK_END))\n"
        "    with av.open(source, format='concat', options={'safe': '0'}) as c:\n"
        "        print(sum(f.samples for f in c.decode(audio=0)))\n"
        "except av.FFmpegError as error:\n    print('refused')\n"
    )
    playlist = f"ffconcat version 1.0\nfile '{canary}'\n".encode()
    said = []
    for shut in ("", "sandbox.shut_in()"):
        command = [sys.executable, "-c", script % shut]
        with (canary.parent / "list").open("w+b") as file:
            file.write(playlist)
            file.seek(0)
            said.append(subprocess.run(command, stdin=file, capture_output=True, text=True, check=False).stdout.strip())
    assert said == ["64000", "refused"]


# --- damage ----------------------------------------------------------------------------------------------


def _mutated(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randint(1, 30)):
        at = dice.randrange(min(len(out), dice.choice((64, 1000, 1 << 30))))
        match dice.randrange(5):
            case 0:
                out[at] = dice.randrange(256)
            case 1:
                out[at : at + 4] = dice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01"))
            case 2:
                del out[at : at + dice.randint(1, 200)]
            case 3:
                out[at:at] = dice.randbytes(dice.randint(1, 200))
            case _:
                out[at:at] = out[: dice.randint(1, 500)]
        if not out:
            return b""
    return bytes(out)


@pytest.mark.timeout(1800)
def test_mutated_files_are_sound_or_a_sentence() -> None:
    dice = random.Random(13)
    files = [media(form, 1.0) for form in FORMS]
    count = examples(15, 1000)
    mutated = [_mutated(files[n % len(files)], dice) for n in range(count)]

    def outcome(data: bytes) -> str:
        try:
            return f"{len(decoded(data, 60)) > 0}"
        except DecodeError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(outcome, mutated))
    counts = {result: results.count(result) for result in set(results)}
    sys.stdout.write(f"\n{count} mutated files: {counts}\n")
    assert counts["True"]
    assert all(len(result) < 300 for result in counts)


# --- too much --------------------------------------------------------------------------------------------


def _quiet_flac(seconds: float) -> bytes:
    """Hours of next to nothing, in next to no bytes."""
    import av

    out = BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=16000)
        stream.layout = "mono"
        for at in range(0, round(seconds * 16000), 4096):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _all_at_once(count: int, work: Callable[[int], int]) -> dict[str, int]:
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(work, range(count)))
    return {str(status): answers.count(status) for status in sorted(set(answers))}


def _upload(siege: Siege, data: bytes, timeout: float = 90.0) -> int:
    try:
        return httpx.post(siege.server.url + PATH, files={"file": ("a", data)}, timeout=timeout).status_code
    except httpx.HTTPError:
        return 0


class _Peak:
    """The most memory that the server and its processes ever had, sampled."""

    def __init__(self, siege: Siege) -> None:
        self._siege, self.bytes = siege, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            with suppress(psutil.Error):
                self.bytes = max(self.bytes, self._siege.rss())


def _elsewhere(siege: Siege, folder: Path, canary: Path) -> dict[str, Any]:
    fifo = folder / "fifo.wav"
    os.mkfifo(fifo)
    targets = (canary, fifo, canary.with_name("missing"))[: examples(2, 3)]
    kinds = [data for target in targets for _, data in _references(target)][:: examples(4, 1)]
    for data in kinds:
        answer = httpx.post(siege.server.url + PATH, files={"file": ("a.wav", data)}, timeout=60)
        assert answer.status_code == 400
        assert not set(VOCABULARY) & set(answer.text.split())
    return {"files": len(kinds)}


def _many_files(siege: Siege) -> dict[str, Any]:
    sound = _wav(examples(10, 750))
    with _Peak(siege) as peak:
        answers = _all_at_once(16, lambda _: _upload(siege, sound))
    # Four at work: each has its file, and a process with FFmpeg in it.
    assert peak.bytes - siege.report.rss_bytes[0] < 4 * (2 * len(sound) + 80e6) + 60e6
    return answers | {"peak MB": round(peak.bytes / 1e6)}


def _long_files(siege: Siege) -> dict[str, Any]:
    flac = _quiet_flac(examples(60, 7190))
    with _Peak(siege) as peak:
        answers = _all_at_once(4, lambda _: _upload(siege, flac))
    assert peak.bytes - siege.report.rss_bytes[0] < 400e6
    return answers | {"bytes": len(flac), "peak MB": round(peak.bytes / 1e6)}


def _leavers(siege: Siege) -> dict[str, Any]:
    """Clients that go while their file is read, decoded and transcribed."""
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + _wav(120.0) + b"\r\n--x--\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    head += f"Content-Length: {len(whole)}\r\n\r\n"
    for share, wait in ((0.01, 0.0), (0.5, 0.1), (1.0, 0.0), (1.0, 0.3)):
        for _ in range(examples(1, 20)):
            with tcp(siege.server) as sock, suppress(OSError):
                sock.sendall(head.encode() + whole[: int(share * len(whole))])
                time.sleep(wait)
    deadline = time.monotonic() + 20
    while siege.server.get("/health")["performance"]["active_connections"] > 4:
        assert time.monotonic() < deadline, "a file goes on without its client"
        time.sleep(0.1)
    return {"left": 4 * examples(1, 20)}


def _forms(siege: Siege) -> dict[str, Any]:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    bodies = [part * (examples(400_000, 5_000_000) // len(part)), b"--x\r\n" + b"A: b\r\n" * 60_000]
    bodies += [
        b"--x\r\nA: " + b"b" * 400_000,
        b"\r\n" * 200_000,
        b"-" * 400_000,
        b"--x" * 130_000,
        b"--x\r\n\r\n" * 50_000,
    ]
    began = time.monotonic()
    kind = {"content-type": "multipart/form-data; boundary=x"}
    url = siege.server.url + PATH
    answers = [httpx.post(url, content=body, headers=kind, timeout=60).status_code for body in bodies]
    assert set(answers) == {400}
    return {"forms": len(answers), "seconds": round(time.monotonic() - began, 1)}


def _trailers(siege: Siege) -> dict[str, Any]:
    """Trailers without end, which cost a token holder's server 1.4 GB, and a stranger's too."""
    sent = 0
    with _Peak(siege) as peak:
        for path in ("/", PATH, "/health"):
            with tcp(siege.server) as sock, suppress(OSError):
                head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                sock.sendall(head.encode() + b"1\r\nx\r\n0\r\n")
                for _ in range(examples(40, 800)):
                    sock.sendall(b"X-Trailer: " + b"y" * 100_000 + b"\r\n")
                    sent += 100_000
    assert peak.bytes - siege.report.rss_bytes[0] < 50e6
    return {"sent MB": round(sent / 1e6), "peak MB": round(peak.bytes / 1e6)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_uploads_take_no_more_than_their_share(tmp_path: Path, canary: Path) -> None:
    with besieged(tmp_path, "--max-connections-per-gpu", "24") as siege:
        siege.attack("files that point elsewhere", lambda: _elsewhere(siege, tmp_path, canary))
        siege.attack("16 large files at once", lambda: _many_files(siege))
        siege.attack("4 long files at once", lambda: _long_files(siege))
        siege.attack("clients that leave", lambda: _leavers(siege))
        siege.attack("forms without end", lambda: _forms(siege), examples(0, 4))
        siege.attack("trailers without end", lambda: _trailers(siege), examples(0, 4))
    siege.report.check()
