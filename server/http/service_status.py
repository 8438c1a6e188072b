"""What a service manager hears of a server or a broker while it runs: ready, alive, what it does, on its way out.

The word comes from the event loop, which is what may hang; workers have a supervisor of their own. Without the word for
as long as the unit's WatchdogSec allows systemd starts the service anew.
"""

import asyncio
from collections.abc import Callable

from server.sessions.clock import now
from whisper_ops.service_manager import Notify

LOOK_SECONDS = 0.5
_STATUS_SECONDS = 10.0
"""From one word to the next where no watchdog asks for more."""


async def report(
    notify: Notify, *, ready: Callable[[], bool], stopping: Callable[[], bool], status: Callable[[], str]
) -> None:
    """Until cancelled; at once where nobody listens. `told`: whether it was told to end."""
    every = min(notify.watchdog_seconds or _STATUS_SECONDS, _STATUS_SECONDS)
    said_ready = said_stopping = False
    due = now()
    try:
        while notify.configured:
            if not said_ready and ready():
                notify.ready(status())
                said_ready = True
            if not said_stopping and stopping():
                notify.stopping()
                said_stopping = True
            if now() >= due:
                notify.alive(status())
                due = now() + every
            await asyncio.sleep(min(LOOK_SECONDS, every))
    finally:
        if not said_stopping:
            notify.stopping()
