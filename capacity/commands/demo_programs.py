"""What both acts of the demo need: ports, servers that come up, and how a plan and an interruption are passed on."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_ops.child_processes import Child
from whisper_ops.cli.options import DEFAULT_HISTORY
from whisper_ops.console import data, say
from whisper_ops.errors import Exit, UserError

if TYPE_CHECKING:
    from capacity.loadtest.runner import SweepOutcome
    from whisper_ops.plan.plan_document import Plan


def step(number: str, words: str) -> None:
    """Say that an act begins."""
    say(f"demo {number}  {words}")


def go_on(outcome: "SweepOutcome") -> None:
    """Ctrl-C ends the demo, and not only the load test, which keeps what it has."""
    if outcome.state == "interrupted":
        raise KeyboardInterrupt


def show_plan(plan: "Plan", history: Path | None, *, following: bool) -> None:
    """A plan's own lines; without the next command where the server is gone by now."""
    from whisper_ops.plan.plan_answer import answered

    named = None if history is None or history == DEFAULT_HISTORY else history
    lines = answered(plan, time.time(), named).lines
    for line in lines if following else lines[:-1]:
        data().print(line, soft_wrap=not data().is_terminal)


def free_ports(count: int) -> list[int]:
    """As many ports that nobody listens on."""
    import socket
    from contextlib import ExitStack

    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def ready(server: Child, url: str, deadline: float) -> bool:
    """Whether a server takes streams by then.

    Raises:
        UserError: it ended instead.
    """
    import httpx

    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise UserError(f"a server ended with exit code {server.process.returncode}: {server.log_tail()}", Exit.NO)
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return True
        except httpx.TransportError:
            pass  # not listening yet, or too busy to answer
        time.sleep(0.1)  # between two looks at a process that starts
    return False
