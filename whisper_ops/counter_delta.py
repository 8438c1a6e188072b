"""The increase of a counter between two readings, which may have been restarted or misread in between."""

RESTART = 0.1
"""A counter that fell to less than this part of itself began again; nothing else makes it small."""
JITTER = 0.01
"""The kernel's idle seconds, for one, fall by a hundredth now and then."""


def counter_increase(before: float, now: float) -> float | None:
    """What was counted from `before` to `now`; None where that cannot be told.

    A counter that fell to near zero was restarted: what it holds now is new. One that fell a little was read
    inexactly: nothing was counted. Any other fall has no explanation, and the increase is unknown.
    """
    if now >= before:
        return now - before
    if now <= before * RESTART:
        return now
    return 0.0 if now >= before * (1 - JITTER) else None
