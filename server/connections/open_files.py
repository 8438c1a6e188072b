"""Open files: a stream takes one, and a server that runs out of them hangs its clients instead of refusing them."""

import contextlib

from whisper_ops.errors import UserError

SPARE = 128
"""Beside the streams, at least: pollers, newcomers that are being refused, workers, models and logs."""
RESERVE = 64
"""Of those: the listener, workers, models, logs, and what reads /proc. Connections without a stream have the rest."""
MOST_CONNECTIONS = 2048
"""Without a stream, however many descriptors there are: memory and the event loop are bounds too."""


def make_room(streams: int) -> int | None:
    """Have so many files that each of `streams` clients gets one, and connections without a stream theirs if possible.

    The soft limit is raised as far as we may and need.

    Returns:
        How many there may be; None where nothing says.

    Raises:
        UserError: the hard limit is lower.
    """
    needed = streams + SPARE
    have = room_for(streams + RESERVE + MOST_CONNECTIONS)
    if have is not None and have < needed:
        raise UserError(
            f"{streams} slots need {needed} open files and this process may have {have}; raise the limit "
            f"(ulimit -n {needed}, LimitNOFILE= in systemd), or lower --max-connections-per-gpu"
        )
    return have


def room_for(files: int) -> int | None:
    """Raise the soft limit of open files towards `files`, as far as we may.

    Returns:
        How many there may be; None where nothing says.
    """
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= files:
        return soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard)
        )
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
