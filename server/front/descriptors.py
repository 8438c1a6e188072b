"""Open files: a stream takes one, and a server that runs out of them hangs its clients instead of refusing them."""

import contextlib

from whisper_ops.errors import UserError

SPARE = 128
"""Beside the streams: pollers, newcomers that are being refused, workers, models and logs."""


def make_room(streams: int) -> None:
    """Have so many files that each of `streams` clients gets one; the soft limit is raised as far as we may.

    Raises:
        UserError: the hard limit is lower.
    """
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return
    needed = streams + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
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
