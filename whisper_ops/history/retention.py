"""How long each tier is kept."""

import msgspec

DAY = 86400.0


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept how long, in seconds, and how large the rows may be altogether.

    By default 100 servers of 8 GPUs polled each 10 s come to some 18 GB, one such server polled each second to half a
    GB (`make bench-history` measures the bytes of a row). Sweeps, plans, events and alerts stay for ever.
    """

    raw_seconds: float = 3 * DAY
    minute_seconds: float = 14 * DAY
    hour_seconds: float = 400 * DAY
    max_bytes: float = 20e9
    """Above it the oldest polls go first, down to an hour of them, then the oldest minutes, then the oldest hours."""
