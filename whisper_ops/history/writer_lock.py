"""One polling writer a history: who comes second is told who holds it, and reads.

The lock is the kernel's (`flock`), on a file beside the history: it is gone with the process that held it, however that
ended. Sweeps and plans are short transactions of their own and take no lock.
"""

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from whisper_ops.lenient_json import decode_strictly


class LockHolder(msgspec.Struct, frozen=True):
    """Who writes polls into a history."""

    pid: int
    host: str
    command: str
    since: float

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"{self.command} (process {self.pid}{where}, since {time.strftime('%H:%M', time.localtime(self.since))})"


class WriterLock:
    """The right to write polls into the history at `path`."""

    def __init__(self, path: Path, command: str) -> None:
        self.path = path.with_name(path.name + ".lock")
        self._command = command
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def try_acquire(self) -> LockHolder | None:
        """Take the lock and return None; or return who holds it.

        Raises:
            OSError: there is no place for the lock file, or something else is in its place.
        """
        while self._descriptor is None:
            descriptor = _opened(self.path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read(descriptor)
                os.close(descriptor)
                return holder
            if self._is_current(descriptor):
                self._descriptor = descriptor
                self._sign(descriptor)
            else:  # its last holder removed it between our opening and our locking
                os.close(descriptor)
        return None

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            # The file may have been deleted meanwhile, and another process may hold a new one.
            if self._is_current(self._descriptor):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def _sign(self, descriptor: int) -> None:
        holder = LockHolder(os.getpid(), socket.gethostname(), self._command, time.time())
        with suppress(OSError):  # on a full disk the lock holds without a name on it
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _opened(path: Path, flags: int) -> int:
    """Open a lock file. It is overwritten, so it must not be a link to another file.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a folder.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, f"{path} is a link to another file; remove it") from error
        raise
    state = os.fstat(descriptor)
    if stat.S_ISREG(state.st_mode) and state.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, f"{path} is no plain file of its own; remove it")


def _read(descriptor: int) -> LockHolder:
    try:
        return decode_strictly(os.pread(descriptor, 4096, 0), LockHolder)
    except (OSError, msgspec.DecodeError):
        # Taken this moment and not signed yet, or the disk is full.
        return LockHolder(0, socket.gethostname(), "another whisper-ops", time.time())


def holder_of(path: Path) -> LockHolder | None:
    """Who writes polls into the history at `path`; None when nobody does."""
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = _opened(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None
