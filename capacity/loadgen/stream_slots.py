"""A level's streams in one process, by slot. In a level of blocks a stream that is cut is followed by another one."""

import asyncio
import time
from collections.abc import Callable, Iterator

import msgspec

from capacity.corpus.clips import Corpus
from capacity.loadgen.messages import LevelOrder, StreamOrder, StreamResult
from capacity.loadgen.pacer import Pacer
from capacity.loadgen.recording import ALWAYS, MeasuredWindow
from capacity.loadgen.stream import LoadStream

_AGAIN_SECONDS = 2.0
"""Before a stream that was cut connects again."""


class StreamSlots:
    """All streams of a level; those that were cut are kept until they are measured."""

    def __init__(self, level: LevelOrder, corpus: Corpus, pacer: Pacer) -> None:
        self._level = level
        self._corpus = corpus
        self._pacer = pacer
        self._streams: dict[int, list[LoadStream]] = {order.number: [] for order in level.streams}

    async def hold(self, order: StreamOrder) -> None:
        """Keep one slot taken until its time is over."""
        while True:
            stream = LoadStream(order, self._level, self._corpus, self._pacer)
            self._streams[order.number].append(stream)
            await stream.run()
            left = order.stop_at - time.monotonic()
            if self._level.block_seconds is None or stream.was_stopped or left < 2 * _AGAIN_SECONDS:
                return
            await asyncio.sleep(_AGAIN_SECONDS)
            order = msgspec.structs.replace(order, start_at=time.monotonic(), first_clip=order.first_clip + 1)

    @property
    def current(self) -> list[LoadStream]:
        """The last stream of each slot."""
        return [streams[-1] for streams in self._streams.values() if streams]

    def window(self, number: int) -> MeasuredWindow:
        """Where the latencies of a block count; of a level in one piece there is only number 0."""
        level = self._level
        since = level.window_from + number * (level.block_seconds or 0.0)
        return MeasuredWindow(since, min(level.window_until, since + (level.block_seconds or level.window_until)))

    def measured(self, number: int, *, last: bool) -> list[Callable[[], StreamResult]]:
        """What measures each stream of a block, the last of which has everything that comes after it."""
        window = self.window(number)
        scored = MeasuredWindow(window.since if number else ALWAYS.since, ALWAYS.until if last else window.until)
        return [stream.measured(window, scored) for stream in self._all() if stream.lived_in(scored)]

    def forget(self, before: float) -> None:
        """Drop what happened before that time."""
        for number, streams in self._streams.items():
            current = streams[-1:]
            kept = [stream for stream in streams[:-1] if stream.lived_in(MeasuredWindow(before, ALWAYS.until))]
            self._streams[number] = [*kept, *current]
        for stream in self._all():
            stream.forget(before)

    def _all(self) -> Iterator[LoadStream]:
        for streams in self._streams.values():
            yield from streams
