"""The one clock of the front process: its event loop's. A test with a virtual loop thereby has virtual time."""

import asyncio


def now() -> float:
    """Monotonic seconds."""
    return asyncio.get_running_loop().time()
