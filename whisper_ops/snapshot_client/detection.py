"""A server that does not say what it is: it is asked, and what answers decides how it is polled from then on."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.source import OtherServerError, Remarks, Source, SourceError

ASK_AGAIN_SECONDS = 60.0
"""How often one that was found to be of a later kind is asked whether it is of an earlier one by now."""


class SourceKind(NamedTuple):
    """One way to poll a server."""

    make: Callable[[], Source]
    remark: str
    """What to say once when it is this one; empty for the usual one."""


class DetectingSource:
    """Polls by the first of `kinds` that the server is of. While none fits, the first one's words say why."""

    def __init__(self, name: str, kinds: Sequence[SourceKind]) -> None:
        self.name = name
        self.remarks = Remarks()
        self._kinds = kinds
        self._made: dict[int, Source] = {}
        self._found: int | None = None
        self._ask_at = 0.0

    async def read(self) -> Snapshot:
        """One poll, and where it is not known what to poll, one of each kind until one fits."""
        found = self._found
        if found is not None and (found == 0 or time.monotonic() < self._ask_at):
            try:
                return await self._source(found).read()
            except OtherServerError:
                self._found = None  # another program runs there by now; the next poll asks which
                raise
            except SourceError:
                self._found = None if found else 0  # what was silent may come back as one of ours
                raise
        return await self._ask()

    async def close(self) -> None:
        for source in self._made.values():
            await source.close()

    async def _ask(self) -> Snapshot:
        first: SourceError | None = None
        for number, kind in enumerate(self._kinds):
            try:
                snapshot = await self._source(number).read()
            except OtherServerError as error:
                first = first or error
                continue
            self._found, self._ask_at = number, time.monotonic() + ASK_AGAIN_SECONDS
            if kind.remark:
                self.remarks.note("kind of server", f"{self.name} {kind.remark}")
            return snapshot
        self._found = None
        assert first is not None
        raise first

    def _source(self, number: int) -> Source:
        source = self._made.get(number)
        if source is None:
            source = self._made[number] = self._kinds[number].make()
            source.remarks = self.remarks
        return source
