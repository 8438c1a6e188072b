"""Processes that a command starts and always stops again: on success, on failure, on Ctrl-C and on SIGTERM."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

_STOP_SECONDS = 15.0


class Child:
    """One `whisper-ops` command in a process of its own.

    With `terminal` it is what the user sees and types to. Without, its output goes to `log` or to our stderr, and
    it gets a session of its own, so that a Ctrl-C reaches only its parent.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path | None,
        stop_with: int,
        terminal: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.stop_with = stop_with
        self._asked = False
        self._output: IO[bytes] | None = log.open("wb") if log else None
        output = None if terminal else self._output or sys.stderr
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whisper_ops", *arguments],
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=not terminal,
            env={**os.environ, **(environment or {})},
        )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Send its stop signal, and do not wait. Sent once: to many programs a second one means at once."""
        if self.running and not self._asked:
            self._asked = True
            self.process.send_signal(self.stop_with)

    def stop(self) -> None:
        """Ask it to end, wait, and end it when it does not; nothing happens to one that has ended."""
        if self.running:
            self.ask_to_stop()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._output is not None:
            self._output.close()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log, for an error message."""
        if self.log is None:
            return "see its output above"
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


class Children:
    """The children of a command. Leaving the `with` block stops them, the last started first."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._handlers: dict[int, object] = {}

    def start(
        self,
        *arguments: str,
        log: Path | None = None,
        stop_with: int = signal.SIGTERM,
        terminal: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start `whisper-ops ARGUMENTS`; see `Child`. `environment` is added to ours."""
        child = Child(arguments, log=log, stop_with=stop_with, terminal=terminal, environment=environment)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        # A closed terminal or a supervisor's SIGTERM must clean up as Ctrl-C does.
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C must not leave children behind.
        self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        # All at once: a fleet that is stopped one by one takes as many times as long.
        for child in reversed(self._children):
            child.ask_to_stop()
        while self._children:
            self._children.pop().stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a handler
    raise KeyboardInterrupt
