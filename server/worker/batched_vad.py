"""Voice activity of many streams as one batch: what came at once is judged at once."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from server.audio_formats import Samples
from server.worker.stream import Stream
from server.worker.vad import judged

_Asked = tuple[Stream, Samples]


class BatchedVad:
    """`heard` is told of every stream whose sound was judged, `failed` of one that cannot go on, and why."""

    def __init__(self, heard: Callable[[Stream], None], failed: Callable[[Stream, Exception], None]) -> None:
        self._heard, self._failed = heard, failed
        self._waiting: dict[int, Stream] = {}
        self._soon: asyncio.Handle | None = None

    def add(self, stream: Stream) -> None:
        """Judge what came of a stream, once all that was read with it has been taken."""
        self._waiting[stream.number] = stream
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._listen)

    def forget(self, number: int) -> None:
        """A stream is gone."""
        self._waiting.pop(number, None)

    def _listen(self) -> None:
        self._soon = None
        waiting, self._waiting = self._waiting, {}
        going = list(waiting.values())
        while asked := [(stream, sound) for stream in going if (sound := stream.unheard()) is not None]:
            going = self._judge(asked, waiting)
        for stream in waiting.values():
            self._try(stream, partial(self._heard, stream))

    def _judge(self, asked: Sequence[_Asked], waiting: dict[int, Stream]) -> list[Stream]:
        """One step of every stream. Answers those that go on; one that cannot waits for nothing more."""
        try:
            found = judged([stream.vad for stream, _ in asked], [sound for _, sound in asked])
        except Exception as error:  # noqa: BLE001  # one stream's sound must not end the others
            if len(asked) > 1:
                return [stream for one in asked for stream in self._judge([one], waiting)]
            stream = asked[0][0]
            del waiting[stream.number]
            self._failed(stream, error)
            return []
        going = []
        for (stream, _), probabilities in zip(asked, found, strict=True):
            if self._try(stream, partial(stream.hear, probabilities)):
                going.append(stream)
            else:
                del waiting[stream.number]
        return going

    def _try(self, stream: Stream, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # one stream's sound must not end the others
            self._failed(stream, error)
            return False
        return True
