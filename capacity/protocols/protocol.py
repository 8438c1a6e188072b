"""What a dialect must say about itself for the load test to measure it: no sockets, no clocks, only messages."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import msgspec

from capacity.corpus.audio_files import Samples
from whisper_ops.untrusted_text import SENTENCE_LIMIT, cleaned


class StreamReady(msgspec.Struct, frozen=True):
    """The server takes audio now."""

    gpu_id: int | None = None
    connection_id: str | None = None
    server_id: str | None = None
    """Which server process took the stream, where it says: behind one address there may be several."""
    total_gpus: int | None = None
    """How many GPUs that server has."""


class TextShown(msgspec.Struct, frozen=True):
    """What a listener sees after a message."""

    committed: str
    """Text that is new and will not change any more; it follows everything committed before."""
    tail: str
    """All text after that, as it stands now. It replaces the tail before."""

    def __post_init__(self) -> None:
        """Transcripts are shown, compared and written."""
        cleaned(self)


class StreamRefused(msgspec.Struct, frozen=True):
    """The server has no room for this stream."""

    reason: str

    def __post_init__(self) -> None:
        """A server's words: they go to a screen, into reports and into the history."""
        cleaned(self, SENTENCE_LIMIT)


class StreamFailed(msgspec.Struct, frozen=True):
    """The server says that something went wrong, or answers nonsense."""

    reason: str

    def __post_init__(self) -> None:
        """A server's words: they go to a screen, into reports and into the history."""
        cleaned(self, SENTENCE_LIMIT)


class StreamDone(msgspec.Struct, frozen=True):
    """The last text has come; the server would close now."""


Event: TypeAlias = StreamReady | TextShown | StreamRefused | StreamFailed | StreamDone
Message: TypeAlias = str | bytes


@runtime_checkable
class Client(Protocol):
    """One stream's dialect. It is fed messages and says what they mean; everything else is the load test's."""

    software: ClassVar[str]
    """What speaks this dialect first of all, for the history of servers that do not say what they are."""
    path: ClassVar[str]
    """Where the dialect lives when the address names no path."""
    flushes_tail: ClassVar[bool]
    """Whether the server still decodes what it has when told that the audio ended. When not, the load test waits
    until the text has stopped changing before it says so."""

    def query(self) -> dict[str, str]:
        """Parameters to add to the address."""
        ...

    def hello(self) -> Sequence[Message]:
        """What to send as soon as the connection is open."""
        ...

    def audio(self, samples: Samples) -> bytes:
        """One message of sound, 16 kHz mono."""
        ...

    def ending(self) -> Sequence[Message]:
        """What to send when the sound is over."""
        ...

    def read(self, message: Message) -> Event | None:
        """What a message means; None when it changes nothing. Anything not of the dialect is `StreamFailed`."""
        ...
