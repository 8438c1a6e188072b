"""The places of a level in one process. Of a level in blocks, whoever falls out of a place comes back to it."""

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
    """All streams of a level, those before in a place too as long as they are not measured."""

    def __init__(self, level: LevelOrder, corpus: Corpus, wheel: Pacer) -> None:
        self._level = level
        self._corpus = corpus
        self._wheel = wheel
        self._taken: dict[int, list[LoadStream]] = {order.number: [] for order in level.streams}

    async def sit(self, order: StreamOrder) -> None:
        """One place, until its time is over."""
        while True:
            speaker = LoadStream(order, self._level, self._corpus, self._wheel)
            self._taken[order.number].append(speaker)
            await speaker.run()
            left = order.stop_at - time.monotonic()
            if self._level.block_seconds is None or speaker.was_stopped or left < 2 * _AGAIN_SECONDS:
                return
            await asyncio.sleep(_AGAIN_SECONDS)
            order = msgspec.structs.replace(order, start_at=time.monotonic(), first_clip=order.first_clip + 1)

    @property
    def now(self) -> list[LoadStream]:
        """Who sits there now."""
        return [speakers[-1] for speakers in self._taken.values() if speakers]

    def window(self, number: int) -> MeasuredWindow:
        """Where the latencies of a block count; of a level in one piece there is only number 0."""
        level = self._level
        since = level.window_from + number * (level.block_seconds or 0.0)
        return MeasuredWindow(since, min(level.window_until, since + (level.block_seconds or level.window_until)))

    def measured(self, number: int, *, last: bool) -> list[Callable[[], StreamResult]]:
        """What measures each stream of a block, the last of which has everything that comes after it."""
        window = self.window(number)
        scored = MeasuredWindow(window.since if number else ALWAYS.since, ALWAYS.until if last else window.until)
        return [speaker.measured(window, scored) for speaker in self._all() if speaker.lived_in(scored)]

    def forget(self, before: float) -> None:
        """Drop what happened before that time."""
        for number, speakers in self._taken.items():
            current = speakers[-1:]
            kept = [speaker for speaker in speakers[:-1] if speaker.lived_in(MeasuredWindow(before, ALWAYS.until))]
            self._taken[number] = [*kept, *current]
        for speaker in self._all():
            speaker.forget(before)

    def _all(self) -> Iterator[LoadStream]:
        for speakers in self._taken.values():
            yield from speakers
