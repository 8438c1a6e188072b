"""What can be polled: the one protocol between a server, whatever it speaks, and the pollers."""

from typing import Protocol

from whisper_ops.snapshot import Snapshot


class SourceError(Exception):
    """A poll that failed, as one sentence for the screen: what happened, where, and what to do if that is known."""


class OtherServerError(SourceError):
    """The server answers, but is not what was expected: one of another make, or another program."""


class Remarks:
    """What was odd about a source's answers but did not stop them: each kind is said once and counted after that."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._new: list[str] = []

    def note(self, kind: str, sentence: str) -> None:
        """Count `kind`; its first `sentence` waits in `take_new`."""
        if kind not in self.counts:
            self._new.append(sentence)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def take_new(self) -> list[str]:
        """The sentences that nobody has said yet."""
        new, self._new = self._new, []
        return new


class Source(Protocol):
    """Something that can be asked how it is doing. One instance serves one poller; `read` never runs twice at once."""

    @property
    def name(self) -> str:
        """The name under which its rows are shown and stored; never holds a token."""
        ...

    remarks: Remarks
    """Oddities that did not stop a read."""

    async def read(self) -> Snapshot:
        """Ask once. The caller sets the deadline and may cancel.

        Raises:
            SourceError: there is no usable answer.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
