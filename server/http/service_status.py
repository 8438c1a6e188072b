"""What a server or a broker reports to a service manager: ready, alive, its status, stopping.

It is sent from the event loop, which is what may hang; workers have a supervisor of their own. systemd restarts the
service when nothing is sent for the unit's WatchdogSec.
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
    """Report until cancelled; return at once where nobody listens. `stopping`: whether it was told to end."""
    every = min(notify.watchdog_seconds or _STATUS_SECONDS, _STATUS_SECONDS)
    sent_ready = sent_stopping = False
    due = now()
    try:
        while notify.configured:
            if not sent_ready and ready():
                notify.ready(status())
                sent_ready = True
            if not sent_stopping and stopping():
                notify.stopping()
                sent_stopping = True
            if now() >= due:
                notify.alive(status())
                due = now() + every
            await asyncio.sleep(min(LOOK_SECONDS, every))
    finally:
        if not sent_stopping:
            notify.stopping()
