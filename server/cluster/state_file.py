"""A file about a supervisor's server, for the supervisor that Ray starts next on the same machine."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil


class RecordedProcess(msgspec.Struct, frozen=True):
    """A server process; its creation time tells it from a later one with the same pid."""

    pid: int
    created: float
    host: str
    port: int
    devices: str | None
    """CUDA_VISIBLE_DEVICES."""


@dataclass(frozen=True)
class StateFile:
    """Of one worker."""

    path: Path

    @classmethod
    def of(cls, name: str, folder: Path | None = None) -> "StateFile":
        """By the worker's name, which is unique across clusters."""
        folder = folder or Path(tempfile.gettempdir()) / f"whisper-ops-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(folder / f"{name}.json")

    @property
    def log(self) -> Path:
        """The output of its servers."""
        return self.path.with_suffix(".log")

    def read(self) -> RecordedProcess | None:
        """None: missing or unreadable."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=RecordedProcess)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, known: RecordedProcess) -> None:
        """Replace the file atomically."""
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(known))
        new.replace(self.path)

    def remove(self) -> None:
        """Remove the file and the log."""
        for path in (self.path, self.log):
            path.unlink(missing_ok=True)


def process_of(known: RecordedProcess) -> psutil.Process | None:
    """The recorded process, if it still runs."""
    try:
        process = psutil.Process(known.pid)
        # It is computed from the boot time, which clock adjustments move a little.
        same = abs(process.create_time() - known.created) < 1
        return process if same and runs(process) else None
    except psutil.Error:
        return None


def runs(process: psutil.Process) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
