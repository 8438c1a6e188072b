"""Real servers of other makes beside our own, on this machine: `make bench-peers` (`RUNS=5` for five searches each).

WhisperLive (batch mode), WhisperLiveKit (faster-whisper, LocalAgreement) and our own server serve the same tiny.en and
are searched alike with `--objective "stable_p95<=3s"`; WhisperLive as often as RUNS says, the others once. WhisperLive
runs as its own launcher starts it, with one OpenMP thread, and once with as many as CTranslate2 takes by itself. Each
search has a fresh server, and its result is kept as it ends: the same command goes on where it was stopped (`FRESH=1`
begins anew). `ONLY=whisperlive` takes one of them, `SECONDS_A_LEVEL=30` another length.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.peer import Peer, PeerError, install, model_folder, ours, running, whisperlive, whisperlivekit
from tests.support.servers import free_port

OBJECTIVE = "stable_p95<=3s"
KEPT = Path(".cache/bench-peers.jsonl")
_FRESH_SECONDS = 12 * 3600.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One search as it ended."""

    at: float
    """UTC epoch seconds."""
    server: str
    number: int
    seconds_a_level: str
    minutes: float
    load_before: float
    """Load average of the machine before the server was started: above 0.5 it was not quiet."""
    conclusion: str
    levels: list[dict[str, Any]]

    @property
    def edge(self) -> dict[str, Any] | None:
        """The longest measurement of the bracket's low edge."""
        low = re.search(r"\[(\d+),", self.conclusion)
        levels = [level for level in self.levels if low and level["streams"] == int(low[1])]
        return max(levels, key=lambda level: float(level["duration_seconds"]), default=None)

    @property
    def bracket(self) -> str:
        """As the search gave it."""
        start, end = self.conclusion.find("["), self.conclusion.find(")")
        found = self.conclusion[start : end + 1] if 0 <= start < end else self.conclusion.partition(";")[0]
        return found if self.conclusion.endswith("; resolved") else f"{found} (not resolved)"


def search(peer: Peer, port: int, seconds: str, history: Path) -> dict[str, Any]:
    """One search; the document that `sweep --json` prints."""
    command = [sys.executable, "-m", "whisper_ops", "sweep", f"ws://127.0.0.1:{port}{peer.path}", "--search"]
    command += ["--protocol", peer.protocol, "--objective", OBJECTIVE, "--duration", seconds, "--max-streams", "64"]
    command += ["--history", str(history), "--fresh", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        raise SystemExit(f"the search of {peer.name} ended with {done.returncode} and without a result")
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def measure(peer: Peer, port: int, number: int, seconds: str) -> Run:
    """Start the server, search, stop it."""
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, running(peer, port, Path(scratch) / "server.log"):
        document = search(peer, port, seconds, Path(scratch) / "history.db")
    if document["state"] != "done":
        raise SystemExit(f"{peer.name}, run {number}: {document['reason']}")
    return Run(
        at=time.time(),
        server=peer.name,
        number=number,
        seconds_a_level=seconds,
        minutes=(time.monotonic() - began) / 60,
        load_before=load,
        conclusion=document["conclusion"],
        levels=document["levels"],
    )


def kept(seconds: str) -> list[Run]:
    """What runs of the last hours left."""
    if not KEPT.exists() or os.environ.get("FRESH"):
        return []
    runs = [msgspec.json.decode(line, type=Run) for line in KEPT.read_bytes().splitlines()]
    return [run for run in runs if time.time() - run.at < _FRESH_SECONDS and run.seconds_a_level == seconds]


def keep(run: Run) -> None:
    """Add a run to what is kept."""
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")


def table(runs: list[Run]) -> Table:
    """All runs, a line each."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    heads = ("server", "run", "bracket", "stable p50/p95 at its low edge", "WER", "partials/s", "levels", "min", "load")
    for head in heads:
        found.add_column(head, justify="left" if head in {"server", "bracket"} else "right")
    for run in runs:
        edge = run.edge or {}
        found.add_row(
            *(run.server, str(run.number), run.bracket),
            f"{_number(edge.get('stable_p50_seconds'))} / {_number(edge.get('stable_p95_seconds'))} s",
            *(_number(edge.get("wer_ratio"), 3), _number(edge.get("partials_per_second"))),
            *(str(len(run.levels)), f"{run.minutes:.1f}", f"{run.load_before:.1f}"),
        )
    return found


def _number(value: float | None, digits: int = 2) -> str:
    return "—" if value is None else f"{value:.{digits}f}"


def main() -> None:
    runs, seconds = int(os.environ.get("RUNS", "1")), os.environ.get("SECONDS_A_LEVEL", "20")
    only = os.environ.get("ONLY")
    modules = {"whisperlive": "whisper_live", "whisperlivekit": "whisperlivekit"}
    try:
        if needed := [module for protocol, module in modules.items() if only in {None, protocol}]:
            install(needed)
    except PeerError as error:
        raise SystemExit(str(error)) from error
    model, port = model_folder(), free_port()
    wanted = [
        *((whisperlive(model, port), runs), (whisperlive(model, port, None), 1)),
        *((whisperlivekit(model, port), 1), (ours(port), 1)),
    ]
    done = kept(seconds)
    shown: list[Run] = []
    for peer, count in wanted:
        if only not in {None, peer.protocol}:
            continue
        for number in range(1, count + 1):
            run = next((run for run in done if (run.server, run.number) == (peer.name, number)), None)
            if run is None:
                run = measure(peer, port, number, seconds)
                keep(run)
            shown.append(run)
            click.echo(f"{peer.name}, run {number}: {run.conclusion} ({run.minutes:.1f} min)", err=True)
    Console(width=150).print(table(shown))


if __name__ == "__main__":
    main()
