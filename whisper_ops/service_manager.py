"""systemd's notifications of a service: ready, alive, stopping (sd_notify(3), without a library)."""

import os
import socket

from whisper_ops.untrusted_text import one_line


class Notify:
    """Writes to the socket in NOTIFY_SOCKET; does nothing where that is not set.

    `watchdog_seconds`: how often `alive` is expected, half of what the unit's WatchdogSec allows; None: not asked for.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(microseconds) / 2e6 if microseconds.isdecimal() and mine else None

    @property
    def configured(self) -> bool:
        """Whether NOTIFY_SOCKET is set."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Started: units that wait for this one may start."""
        self._send(f"READY=1\nSTATUS={one_line(status)}")

    def alive(self, status: str) -> None:
        """Still working; without this for WatchdogSec systemd restarts the service."""
        self._send(f"WATCHDOG=1\nSTATUS={one_line(status)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
                notifications.connect(self._address)
                notifications.send(message.encode(errors="replace"))
        except OSError:
            return  # a service manager that went away is no reason to stop
