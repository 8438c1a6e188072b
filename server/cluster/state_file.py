"""What a supervisor writes down about its server, for the one that comes after it on the same machine."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil


class RecordedProcess(msgspec.Struct, frozen=True):
    """A server process. The time of its creation tells it from another one with the same number."""

    pid: int
    created: float
    host: str
    port: int
    devices: str | None
    """CUDA_VISIBLE_DEVICES."""


@dataclass(frozen=True)
class StateFile:
    """Of one worker; its log lies beside it."""

    path: Path

    @classmethod
    def of(cls, name: str, folder: Path | None = None) -> "StateFile":
        """The one of a worker by its name, which no other worker of any cluster has."""
        folder = folder or Path(tempfile.gettempdir()) / f"whisper-ops-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(folder / f"{name}.json")

    @property
    def log(self) -> Path:
        """What its servers print."""
        return self.path.with_suffix(".log")

    def read(self) -> RecordedProcess | None:
        """What is written there; None: nothing that could be used."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=RecordedProcess)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, known: RecordedProcess) -> None:
        """All of it or nothing."""
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(known))
        new.replace(self.path)

    def remove(self) -> None:
        """There is no server any more, and nobody will look for its log."""
        for path in (self.path, self.log):
            path.unlink(missing_ok=True)


def process_of(known: RecordedProcess) -> psutil.Process | None:
    """Its process, if it still runs."""
    try:
        process = psutil.Process(known.pid)
        # The time of creation is computed from the boot time, which clocks may move a little.
        same = abs(process.create_time() - known.created) < 1
        return process if same and runs(process) else None
    except psutil.Error:
        return None


def runs(process: psutil.Process) -> bool:
    """Whether a process is there; one that ended and that nobody has waited for is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
