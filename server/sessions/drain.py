"""Graceful drain: refuse new streams, notify live ones, close at the deadline."""

import asyncio
import contextlib
from collections.abc import Mapping

from server import ipc
from server.sessions.clock import now
from server.sessions.session import Session
from server.settings import Settings


class GracefulDrain:
    def __init__(self, settings: Settings, sessions: Mapping[int, Session]) -> None:
        self.active = False
        self._settings, self._sessions = settings, sessions
        self._reconnect_url = settings.reconnect_url
        self._deadline = 0.0
        self._task: asyncio.Task[None] | None = None
        self._session_ended = asyncio.Event()

    def start(self, reconnect_url: str | None = None, seconds: float | None = None) -> None:
        """Notify every client, and close what is left after `seconds`; None: those of the settings.

        Called again with another address or other seconds it notifies all again; else the deadline stays as it is.
        """
        url = reconnect_url or self._settings.reconnect_url
        if self.active and url == self._reconnect_url and seconds is None:
            return
        self._reconnect_url = url
        if not self.active or seconds is not None:
            if self._task is not None:
                self._task.cancel()
            self.active = True
            length = self._settings.drain_seconds if seconds is None else seconds
            self._deadline = now() + length
            self._task = asyncio.get_running_loop().create_task(self._end_streams(length))
        for session in self._sessions.values():
            self.notify(session)

    def notify(self, session: Session) -> None:
        """Queue the notice for a client, if the server drains."""
        if self.active:
            session.outbox.put(ipc.DrainNotice(max(0.0, self._deadline - now()), self._reconnect_url))

    def cancel(self) -> None:
        """Admit streams again."""
        self.active = False
        if self._task is not None:
            self._task.cancel()

    def session_ended(self) -> None:
        """A session ended."""
        self._session_ended.set()

    async def finished(self) -> None:
        """Wait until every stream has ended or was closed, or the drain was cancelled."""
        while (task := self._task) is not None and not task.done():
            await asyncio.wait({task})

    async def _end_streams(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended(), seconds)
        for session in self._sessions.values():
            session.fail("drained", "The server has ended; connect to another one")
        await asyncio.sleep(0.2)  # for the last messages to be sent

    async def _all_ended(self) -> None:
        while self._sessions:
            await self._session_ended.wait()
            self._session_ended.clear()
