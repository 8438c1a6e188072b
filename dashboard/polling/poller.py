"""Polling: a task a server, so that a hung, slow or dead one never touches another."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.client import poll
from whisper_ops.snapshot_client.source import Source, SourceError

Emit = Callable[[Snapshot], None]
"""Takes each snapshot as it arrives, on the event loop: it must not block."""
Gone = Callable[[str], None]
"""Takes the name of a server that is let go of: no name leads to it any more."""

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0)
_JITTER = 0.2
INTERVAL_SECONDS = 1.0
DEADLINE_SECONDS = 3.0
FIND_SECONDS = 30.0


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
        self.last = snapshot = await poll(self.source, self.deadline)
        if snapshot.state == "silent":
            self.failures_total += 1
            self.failures_in_row += 1
            return snapshot
        self._good_at = time.monotonic()
        self.failures_in_row = 0
        self.last_good = snapshot
        return snapshot

    async def close(self) -> None:
        """Let go of the source's connections."""
        await self.source.close()

    def _pause(self) -> float:
        step = BACKOFF_SECONDS[min(self.failures_in_row, len(BACKOFF_SECONDS)) - 1]
        # A dead server is not asked more often than a live one.
        return max(step, self.interval) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load only


class Discovery(Protocol):
    """Something that finds sources while polling goes on, as a DNS name with many replicas does."""

    @property
    def name(self) -> str:
        """What is shown when it finds nothing."""
        ...

    async def find(self) -> dict[str, Callable[[], Source]]:
        """How to make each source there is now, by a key that stays the same.

        Raises:
            SourceError: it could not look.
        """
        ...


class Pollers:
    """The pollers of all servers, those found by discovery included."""

    def __init__(
        self,
        sources: Iterable[Source],
        discoveries: Iterable[Discovery] = (),
        *,
        interval: float = INTERVAL_SECONDS,
        deadline: float = DEADLINE_SECONDS,
        find_seconds: float = FIND_SECONDS,
    ) -> None:
        self.interval = interval
        self.deadline = deadline
        self.pollers = {source.name: self._poller(source) for source in sources}
        self.reached: Mapping[str, str] = {}
        """How the servers of each name are reached, as `ReachedRecord` has it; replicas are named `NAME/address`."""
        self.addresses: Mapping[str, str] = {}
        """Host and port of servers, by name."""
        self._discoveries = list(discoveries)
        self._find_seconds = find_seconds
        self._found: dict[tuple[str, str], Poller] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._gone: Gone | None = None

    async def run(self, emit: Emit, gone: Gone | None = None) -> None:
        """Poll all until cancelled, then close every source."""
        self._gone = gone
        try:
            async with asyncio.TaskGroup() as group:
                for poller in self.pollers.values():
                    self._start(group, poller, emit)
                for discovery in self._discoveries:
                    group.create_task(self._watch(discovery, group, emit), name=f"find {discovery.name}")
        finally:
            await self.close()

    def reached_by(self, server: str) -> str | None:
        """How a server is reached; None where nobody said."""
        return self.reached.get(server, self.reached.get(server.rpartition("/")[0]))

    async def once(self) -> list[Snapshot]:
        """Poll each server once, all at the same time; in the order they were given."""
        lost = [snapshot for discovery in self._discoveries if (snapshot := await self._find(discovery))]
        return [*await asyncio.gather(*(poller.once() for poller in self.pollers.values())), *lost]

    async def close(self) -> None:
        """Close every source."""
        await asyncio.gather(*(poller.close() for poller in self.pollers.values()), return_exceptions=True)

    def _poller(self, source: Source) -> Poller:
        return Poller(source, interval=self.interval, deadline=self.deadline)

    def _start(self, group: asyncio.TaskGroup, poller: Poller, emit: Emit) -> None:
        self._tasks[poller.server] = group.create_task(poller.run(emit), name=f"poll {poller.server}")

    async def _watch(self, discovery: Discovery, group: asyncio.TaskGroup, emit: Emit) -> None:
        while True:
            lost = await self._find(discovery)
            if lost is not None and not any(name == discovery.name for name, _ in self._found):
                emit(lost)
            for poller in self.pollers.values():
                if poller.server not in self._tasks:
                    self._start(group, poller, emit)
            await asyncio.sleep(self._find_seconds)

    async def _find(self, discovery: Discovery) -> Snapshot | None:
        """Add pollers for what is new and let go of those that are gone; what could not be looked up is silent."""
        try:
            found = await discovery.find()
        except SourceError as error:
            return Snapshot(server=discovery.name, at=time.time(), state="silent", error=str(error))
        for key, make in found.items():
            if (discovery.name, key) not in self._found:
                poller = self._poller(make())
                self._found[discovery.name, key] = self.pollers[poller.server] = poller
        for (name, key), poller in list(self._found.items()):
            # A replica that answers still is polled, whatever the name server says.
            if name == discovery.name and key not in found and poller.failures_in_row:
                await self._let_go(name, key)
        return None

    async def _let_go(self, name: str, key: str) -> None:
        poller = self._found.pop((name, key))
        del self.pollers[poller.server]
        task = self._tasks.pop(poller.server, None)
        if task is not None:
            task.cancel()
        await poller.close()
        if self._gone is not None:
            self._gone(poller.server)
