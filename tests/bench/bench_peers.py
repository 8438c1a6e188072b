"""Real servers of other makes beside our own, on this machine: `make bench-peers` (`RUNS=5` for five searches each).

WhisperLive (batch mode) and WhisperLiveKit (faster-whisper, LocalAgreement) are installed into .venv-peers with torch
for the CPU; WhisperLive builds PyAudio, which needs Debian's portaudio19-dev. All three serve the same tiny.en. Each is
searched with `--objective "stable_p95<=3s"`; for WhisperLive on two cores the bracket is expected inside [2, 4].
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from tests.bench.peer import Peer, PeerError, install, model_folder, ours, running, whisperlive, whisperlivekit
from tests.support.servers import free_port

OBJECTIVE = "stable_p95<=3s"


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
    try:
        install()
    except PeerError as error:
        raise SystemExit(str(error)) from error
    model, port = model_folder(), free_port()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for peer in (whisperlive(model, port), whisperlivekit(model, port), ours(port)):
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
