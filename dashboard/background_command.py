"""A whisper-ops command that runs in the background, whatever page is shown. Imports no textual."""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from whisper_ops.errors import Exit
from whisper_ops.progress import VARIABLE, Progress, read

_OUTCOMES: dict[int, str] = {
    Exit.GOOD: "is done",
    Exit.NO: "is done, and its answer is no",
    Exit.USAGE: "could not be done",
    Exit.UNREACHABLE: "did not reach the server",
    Exit.EVIDENCE: "is done, and there is not enough evidence for an answer",
    Exit.INTERRUPTED: "was stopped; what it had measured is kept",
    -signal.SIGINT: "was stopped",
}
_NEEDS_NO_DETAIL = {Exit.GOOD, Exit.INTERRUPTED, -signal.SIGINT}
_LINES_KEPT = 2000
_GRACE_SECONDS = 10.0


class BackgroundCommand:
    """One command in a process of its own: its output, its progress, and how it ended."""

    def __init__(self, title: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        """`environment` is added to ours: a token there is seen by nobody, unlike one on the command line."""
        self.title = title
        self.environment = dict(environment or {})
        self.output: list[str] = []
        """Its lines, oldest first, stdout and stderr together."""
        self.verdict: str | None = None
        """Its result where the caller knows it better than the last line of its output says."""
        self.code: int | None = None
        """Its exit code; None while it runs."""
        self._command = command
        self._began: float | None = None
        self._ended: float | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._progress: Path | None = None

    @property
    def seconds(self) -> float:
        """How long it has run; 0 until it begins, as while it is asked whether it may."""
        if self._began is None:
            return 0.0
        return (self._ended if self._ended is not None else time.monotonic()) - self._began

    @property
    def progress(self) -> Progress | None:
        """How far it is; None where it does not say, or is over."""
        return None if self._progress is None else read(self._progress)

    @property
    def kind(self) -> str:
        """What it is: `sweep`, `check`, `plan`."""
        return self.title.partition(" ")[0]

    @property
    def outcome(self) -> str:
        """How it ended, in a sentence; with the last line of its output where that is the reason."""
        if self.verdict is not None:
            return self.verdict
        code = self.code or 0
        last = next((line.strip().removeprefix("whisper-ops: ") for line in reversed(self.output) if line.strip()), "")
        how = _OUTCOMES.get(code, f"was killed by signal {-code}" if code < 0 else "failed")
        return f"the {self.title} {how}{f': {last}' if last and code not in _NEEDS_NO_DETAIL else ''}"

    async def run(self) -> None:
        """Run it to its end; cancelled, it is ended as Ctrl-C would end it, so that nothing is left behind."""
        self._began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="whisper-ops-") as folder:
            self._progress = Path(folder) / "progress"
            try:
                await self._run({**self.environment, VARIABLE: str(self._progress)})
            finally:
                self._progress = None

    async def _run(self, environment: Mapping[str, str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL, env={**os.environ, **environment},
        )  # fmt: skip
        try:
            assert self._process.stdout is not None
            async for raw in self._process.stdout:
                self.output.append(raw.decode("utf-8", "replace").rstrip("\r\n").replace("\t", "  "))
                del self.output[:-_LINES_KEPT]
            self.code = await self._process.wait()
        finally:
            await self._end()
            self._ended = time.monotonic()

    def stop(self) -> None:
        """End it as Ctrl-C would: it keeps what it has measured."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            self.code = await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
            return
        process.kill()
        self.code = await process.wait()
