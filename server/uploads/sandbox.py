"""A process shuts itself in before it looks at what a stranger sent: no file, no socket, no process, bounded means.

The bound on descriptors is what does it: with as many open as it may have, every open, socket or pipe fails, whatever
code asks for it and by whichever system call. What is needed must have been opened and imported before.
"""

import contextlib
import ctypes
import os
import resource
import signal

MEMORY_BYTES = 512 << 20
"""Of address space; an interpreter with FFmpeg in it takes 120 MB of that."""
CPU_SECONDS = 240
"""Two hours of any codec take a minute at most."""
_DESCRIPTORS = 3
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def shut_in(memory_bytes: int = MEMORY_BYTES, cpu_seconds: int = CPU_SECONDS) -> None:
    """Give up whatever is not needed to turn standard input into standard output. There is no way back.

    Raises:
        OSError: this system does not let a process bound itself.
    """
    os.closerange(_DESCRIPTORS, 4096)
    os.nice(5)  # live streams go first
    for kind, most in (
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(kind, (most, most))
    with contextlib.suppress(ValueError, OSError):  # of a user who has as many already
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    _ask_linux()


def _ask_linux() -> None:
    """No new rights by what it executes, nobody reads its memory, and it ends with its parent."""
    with contextlib.suppress(OSError, AttributeError):  # another system has other ways, and the limits above
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
