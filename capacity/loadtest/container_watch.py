"""`--watch NAME=podman:CONTAINER` or `docker:CONTAINER`: what a container uses, from the kernel's own counters.

The engine says which process is the container's first; the control group of that process is the container. Nothing is
asked of the engine afterwards, until that process is gone: then the container may have been started again.
"""

import asyncio
import re
import subprocess
from collections.abc import Sequence

from capacity.loadtest.process_usage import GpuReader, ProcessUsage
from whisper_ops.errors import UserError
from whisper_ops.telemetry.control_groups import ControlGroups, GroupUse
from whisper_ops.untrusted_text import one_line

ENGINES = ("podman", "docker")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_ENGINE_SECONDS = 20.0
"""What an engine may take to say where a container is; on a busy machine seconds."""
_TRIES = 5
"""Seconds that a container may take to be started again."""


class ContainerWatch:
    """A container that runs now, by its name or id."""

    def __init__(self, engine: str, name: str) -> None:
        """Find it.

        Raises:
            UserError: it is not there, does not run, or its use cannot be read.
        """
        self.what = f"container {name}"
        self._engine, self._name = engine, name
        if not _NAME.fullmatch(name):
            raise UserError(f"{name!r} is no container's name; `{engine} ps` lists them")
        self._gpus = GpuReader()
        pid = self._first_process()
        self._groups = ControlGroups(process=str(pid))
        _need(self._groups, f"{engine} container {name}", pid)

    async def read(self) -> ProcessUsage | None:
        """What it uses; None when it has ended, and was not started again within some seconds."""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(1)
            use = self._groups.use()
            if isinstance(use, GroupUse):
                gpu = await self._gpus.read(self._groups.processes())
                return ProcessUsage(use.cpu_seconds, use.memory_bytes, gpu)
            await asyncio.to_thread(self._again)
        return None

    def _again(self) -> None:
        try:
            self._groups = ControlGroups(process=str(self._first_process()))
        except UserError:
            return  # it does not run; the next try asks again, and the last one says that it ended

    def _first_process(self) -> int:
        pid = _asked([self._engine, "inspect", "--type", "container", "--format", "{{.State.Pid}}", self._name])
        if not pid.isdecimal() or len(pid) > 10:
            raise UserError(f"{self._engine} says no process of container {self._name}, but {one_line(pid, 80)!r}")
        if pid == "0":
            raise UserError(f"container {self._name} does not run; start it first, `{self._engine} ps` lists them")
        return int(pid)


def _asked(command: Sequence[str]) -> str:
    """What an engine prints.

    Raises:
        UserError: it is not installed, does not answer, or knows no such container.
    """
    engine = command[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ENGINE_SECONDS)
    except FileNotFoundError as error:
        raise UserError(
            f"{engine} is not installed here, or not on PATH; name the container's process: NAME=PID"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{engine} did not answer within {_ENGINE_SECONDS:g} s; see `{engine} ps`") from error
    except OSError as error:
        raise UserError(f"{engine} cannot be run ({error.strerror})") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"{engine} knows no container {command[-1]} ({one_line(why, 160)}); `{engine} ps` lists them")
    return done.stdout.strip()


def _need(groups: ControlGroups, what: str, pid: int) -> None:
    """A container whose use cannot be read is no container to be watched.

    Raises:
        UserError: why it cannot be read.
    """
    use = groups.use()
    if isinstance(use, GroupUse):
        return
    missing = " and ".join(use)
    raise UserError(
        f"the {missing} of the {what} cannot be read: the control group of its process {pid} tells none here"
        " (an engine in a virtual machine, or a controller that is off); name the replica's own address: NAME=URL"
    )
