"""`make bench-sources`: real WhisperLive and WhisperLiveKit polled while a real stream speaks, beside what is true.

They are installed into .venv-peers as bench-peers does, with prometheus-client for WhisperLive's metrics. Exit code 1
when a row is not what it should be.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from dashboard.history.history_writer import HistoryWriter
from dashboard.polling.poller import Poller
from dashboard.polling.server_list import from_argument
from dashboard.polling.sources.factory import make
from tests.bench.peer import install, model_folder, pip, running, whisperlive, whisperlivekit
from tests.support.servers import free_port
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

SECONDS = 20
STREAMS = 2


class Check(NamedTuple):
    """A figure, what it was, and whether that is right."""

    what: str
    value: object
    right: bool


def _whisperlive(rows: list[Snapshot], pid: int) -> list[Check]:
    figures = [row.figures for row in rows if row.figures is not None]
    hosts = [row.host for row in rows if row.host is not None]
    active = [figure.streams_active or 0 for figure in figures]
    latency = [figure.final_p95_seconds for figure in figures if figure.final_p95_seconds is not None]
    rss, seen = hosts[-1].process_rss_bytes or 0, psutil.Process(pid).memory_info().rss
    cpu = [host.process_cpu_ratio for host in hosts if host.process_cpu_ratio is not None]
    return [
        Check("polls, all answered", len(rows), len(rows) > SECONDS / 2 and all(row.state == "live" for row in rows)),
        Check(f"streams at most (truth: {STREAMS})", max(active), max(active) == STREAMS),
        Check("streams at the end (truth: 0)", active[-1], active[-1] == 0),
        # A sweep first plays one stream alone, the reference of its WER.
        Check(
            f"accepted (truth: {STREAMS} + 1)", figures[-1].accepted_total, figures[-1].accepted_total == STREAMS + 1
        ),
        Check("transcription p95, s (its buckets end at 10)", latency and max(latency), bool(latency)),
        Check(f"RSS, GB (psutil: {seen / 1e9:.2f})", round(rss / 1e9, 2), abs(rss - seen) < 0.2 * seen),
        Check("CPU at most, cores (truth: 2)", round(max(cpu), 2), 0.3 < max(cpu) < 2.3),
    ]


def _whisperlivekit(rows: list[Snapshot], _pid: int) -> list[Check]:
    states = [row.figures.status for row in rows if row.figures is not None]
    engines = {row.identity.engine for row in rows if row.identity is not None}
    return [
        Check("polls, all answered", len(rows), len(rows) > SECONDS / 2 and all(row.state == "live" for row in rows)),
        Check("status", states[-1], states[-1] == "healthy"),
        Check("backend (truth: faster-whisper)", engines, engines == {"faster-whisper"}),
    ]


async def _watch(argument: str, history: Path, speaking: "subprocess.Popen[bytes]") -> list[Snapshot]:
    server = from_argument(argument)
    poller = Poller(make(server))
    with HistoryWriter(history) as writer:
        task = asyncio.create_task(poller.run(writer.put))
        await asyncio.to_thread(speaking.wait)
        await asyncio.sleep(4)  # the last connection is counted out after it closed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await poller.close()
    with History.reading(history) as opened:
        return list(opened.polls.between(server.label, 0, 1e12))


def _speak(port: int, protocol: str, path: str, scratch: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "whisper_ops", "sweep", f"ws://127.0.0.1:{port}{path}", "--protocol", protocol]
    command += [
        "--levels",
        str(STREAMS),
        "--duration",
        str(SECONDS),
        "--history",
        str(scratch / "sweep.db"),
        "--json",
        "--no-warm-up",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _install_metrics() -> None:
    """WhisperLive has metrics where prometheus-client is."""
    subprocess.run([*pip(), "--quiet", "prometheus-client"], check=True)


def _listening(port: int) -> int:
    """The process that listens on a port."""
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return next(one.pid for one in listening if one.pid and one.laddr[1:] == (port,))


def main() -> int:
    """Poll both; print every check."""
    install()
    _install_metrics()
    model, port, metrics = model_folder(), free_port(), free_port()
    live, kit = whisperlive(model, port), whisperlivekit(model, port)
    live.command[2] = live.command[2].replace("max_clients=64", f"max_clients=64, metrics_port={metrics}")
    checks: list[tuple[str, str, Callable[[list[Snapshot], int], list[Check]]]] = [
        ("WhisperLive", f"whisperlive+http://127.0.0.1:{metrics}", _whisperlive),
        ("WhisperLiveKit", f"whisperlivekit+http://127.0.0.1:{port}", _whisperlivekit),
    ]
    right = True
    for peer, (name, argument, check) in zip((live, kit), checks, strict=True):
        with tempfile.TemporaryDirectory() as folder, running(peer, port, Path(folder) / "log"):
            with _speak(port, peer.protocol, peer.path, Path(folder)) as speaking:
                rows = asyncio.run(_watch(argument, Path(folder) / "history.db", speaking))
            print(name)  # noqa: T201  # a benchmark's result is its output
            for one in check(rows, _listening(metrics if name == "WhisperLive" else port)):
                print(f"  {one.what:<48} {one.value!s:<24} {'ok' if one.right else 'WRONG'}")  # noqa: T201
                right = right and one.right
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
