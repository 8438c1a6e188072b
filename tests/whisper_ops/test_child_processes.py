"""What a command starts, it stops: whatever way it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from whisper_ops.child_processes import Children

PARENT = """
import sys, time
from whisper_ops import child_processes
# A child that would live for ever and is deaf to the polite signal, when it is told so.
deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if "deaf" in sys.argv else ""
code = "\\n".join(["import signal, time", deaf, "print('up', flush=True)", "time.sleep(600)"])
popen = child_processes.subprocess.Popen
child_processes.subprocess.Popen = lambda command, **rest: popen([command[0], "-c", code], **rest)
child_processes._STOP_SECONDS = 1.0
with child_processes.Children() as started:
    child = started.start("anything")
    print(child.process.pid, flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def parent(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A process in a `Children` block, and the id of its child once that runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    child = int(process.stdout.readline())
    assert process.stderr.readline() == "up\n"  # the child says so after its signal handling is in place
    return process, child


def wait_until_gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_parent_leaves_no_child(with_signal: int) -> None:
    process, child = parent()
    process.send_signal(with_signal)
    assert process.wait(10) == 130
    assert wait_until_gone(child)


def test_a_child_that_does_not_listen_is_ended_all_the_same() -> None:
    process, child = parent("deaf")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 130
    assert wait_until_gone(child)


def test_what_a_child_said_last_can_be_told(tmp_path: Path) -> None:
    with Children() as children:
        child = children.start("no-such-command", log=tmp_path / "log")
        assert child.process.wait(30) == 2
        assert "No such command 'no-such-command'" in child.log_tail()
        assert not child.running


def test_signal_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Children():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
