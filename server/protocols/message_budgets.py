"""What one stream's messages may cost the event loop: how many without audio, how many short ones, how much audio."""

import asyncio

from server.connections import budgets
from server.connections.budgets import ConnectionBudget
from server.connections.connection_limits import ConnectionLimits
from server.protocols.protocol_errors import ProtocolError
from server.sessions.clock import now


class MessageBudgets:
    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._silent, self._short = ConnectionBudget(budgets.SILENT_MESSAGES), ConnectionBudget(budgets.SHORT_MESSAGES)
        self._audio = ConnectionBudget(budgets.SOUND)
        self._handled = 0

    async def charge_message(self, audio_s: float) -> None:
        """Count a handled message that brought `audio_s` seconds of audio.

        One read of the socket may bring many messages: other connections have their turn between them.

        Raises:
            ProtocolError: there were too many without audio.
        """
        if not audio_s and not self._silent.take(1, now()):
            self._limits.flooded["messages"] += 1
            most = budgets.SILENT_MESSAGES[0]
            raise ProtocolError("too_many_messages", f"too many messages without sound; at most {most:.0f} a second")
        if audio_s < budgets.SHORT_SECONDS:
            self._short.take(1, now())
        self._handled += 1
        wait = self._short.wait(now())
        if wait or self._handled % budgets.MESSAGES_IN_A_TURN == 0:
            await asyncio.sleep(wait)

    async def wait_for_audio(self) -> None:
        """Wait until more audio may be taken: what comes much faster than real time is taken more slowly."""
        if wait := self._audio.wait(now()):
            await asyncio.sleep(wait)

    def charge_audio(self, seconds: float) -> None:
        self._audio.take(seconds, now())
