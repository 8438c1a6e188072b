"""Polling: a task a server, so that a hung, slow or dead one never touches another."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from dashboard.source import Source, SourceError
from whisper_ops.snapshot import Snapshot

Emit = Callable[[Snapshot], None]
"""Takes each snapshot as it arrives, on the event loop: it must not block."""

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0)
_JITTER = 0.2
INTERVAL_SECONDS = 1.0
DEADLINE_SECONDS = 3.0


class Poller:
    """Polls one source for as long as `run` runs, and remembers what a screen wants to know in between."""

    def __init__(
        self, source: Source, *, interval: float = INTERVAL_SECONDS, deadline: float = DEADLINE_SECONDS
    ) -> None:
        self.source = source
        self.interval = interval
        """Seconds from poll to poll; a change holds from the next poll on."""
        self.deadline = deadline
        self.last: Snapshot | None = None
        """The newest snapshot, live or silent."""
        self.last_good: Snapshot | None = None
        """The newest live one: what a silent server's row still shows, with its age."""
        self.next_try_at: float | None = None
        """When the next poll starts, UTC epoch seconds; None before the first."""
        self.polls_total = 0
        self.failures_total = 0
        self.failures_in_row = 0
        self._good_at: float | None = None

    @property
    def server(self) -> str:
        """The name of what is polled."""
        return self.source.name

    def age(self) -> float | None:
        """Seconds since the last good poll, by a clock that nobody sets; None before the first."""
        return None if self._good_at is None else time.monotonic() - self._good_at

    async def run(self, emit: Emit) -> None:
        """Poll until cancelled: every `interval` seconds while it answers, with growing pauses while it does not."""
        # Servers start at different moments of the interval, so that a hundred do not answer all at once.
        await asyncio.sleep(random.uniform(0, min(self.interval, 1.0) / 2))  # noqa: S311  # spreads load only
        due = time.monotonic()
        while True:
            snapshot = await self.once()
            now = time.monotonic()
            # The schedule is kept; polls missed by a slow answer are skipped, never made up for in a burst.
            due = max(due + self.interval, now) if snapshot.state == "live" else now + self._pause()
            self.next_try_at = time.time() + due - now
            emit(snapshot)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def once(self) -> Snapshot:
        """Poll once, now; never raises for what the source does: a failure is a silent snapshot with its sentence."""
        self.polls_total += 1
        try:
            async with asyncio.timeout(self.deadline):
                snapshot = await self.source.read()
        except SourceError as error:
            return self._failed(str(error))
        except TimeoutError:
            return self._failed(f"{self.server} gave no answer within {self.deadline:g} s")
        except Exception as error:  # noqa: BLE001  # a fault in one source's code must not stop the other pollers
            return self._failed(f"reading {self.server} failed unexpectedly: {type(error).__name__}: {error}")
        self._good_at = time.monotonic()
        self.failures_in_row = 0
        self.last = self.last_good = snapshot
        return snapshot

    async def close(self) -> None:
        """Let go of the source's connections."""
        await self.source.close()

    def _failed(self, sentence: str) -> Snapshot:
        self.failures_total += 1
        self.failures_in_row += 1
        self.last = Snapshot(server=self.server, at=time.time(), state="silent", error=sentence)
        return self.last

    def _pause(self) -> float:
        step = BACKOFF_SECONDS[min(self.failures_in_row, len(BACKOFF_SECONDS)) - 1]
        # A dead server is not asked more often than a live one.
        return max(step, self.interval) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load only


class Fleet:
    """The pollers of all servers."""

    def __init__(
        self,
        sources: Iterable[Source],
        *,
        interval: float = INTERVAL_SECONDS,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self.pollers = {source.name: Poller(source, interval=interval, deadline=deadline) for source in sources}

    async def run(self, emit: Emit) -> None:
        """Poll all until cancelled, then close every source."""
        try:
            async with asyncio.TaskGroup() as group:
                for poller in self.pollers.values():
                    group.create_task(poller.run(emit), name=f"poll {poller.server}")
        finally:
            await self.close()

    async def once(self) -> list[Snapshot]:
        """Poll each server once, all at the same time; in the order they were given."""
        return list(await asyncio.gather(*(poller.once() for poller in self.pollers.values())))

    async def close(self) -> None:
        """Close every source."""
        await asyncio.gather(*(poller.close() for poller in self.pollers.values()), return_exceptions=True)
