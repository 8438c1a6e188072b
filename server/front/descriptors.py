"""Open files: a stream takes one, and a server that runs out of them hangs its clients instead of refusing them."""

import contextlib

from whisper_ops.errors import UserError

SPARE = 128
"""Beside the streams: pollers, newcomers that are being refused, workers, models and logs."""


def make_room(streams: int) -> int | None:
    """Have so many files that each of `streams` clients gets one; the soft limit is raised as far as we may.

    Returns:
        How many there may be; None where nothing says.

    Raises:
        UserError: the hard limit is lower.
    """
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return None
    needed = streams + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= needed:
        return soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard)
        )
    have = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if have < needed:
        raise UserError(
            f"{streams} slots need {needed} open files and this process may have {have}; raise the limit "
            f"(ulimit -n {needed}, LimitNOFILE= in systemd), or lower --max-connections-per-gpu"
        )
    return have
