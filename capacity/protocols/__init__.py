"""The dialects that the load test speaks, one small class each; adding one is a page of code (docs/load-test.md)."""

from capacity.protocols.native import NativeClient
from capacity.protocols.protocol import Client, Event, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown
from capacity.protocols.whisperlive import WhisperLiveClient
from capacity.protocols.whisperlivekit import WhisperLiveKitClient
from whisper_ops.errors import UserError
from whisper_ops.known_software import WHISPERLIVE, WHISPERLIVEKIT

__all__ = [
    "PROTOCOLS",
    "Client",
    "Event",
    "StreamDone",
    "StreamFailed",
    "StreamReady",
    "StreamRefused",
    "TextShown",
    "check_protocol",
]

PROTOCOLS: dict[str, type[Client]] = {
    "native": NativeClient,
    WHISPERLIVE: WhisperLiveClient,
    WHISPERLIVEKIT: WhisperLiveKitClient,
}
"""Name on the command line to class; a stream makes its own. A protocol is called like the software it is of."""


def check_protocol(name: str) -> str:
    """The name, when there is such a protocol; else UserError."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol is called {name!r}; there are {', '.join(PROTOCOLS)}")
    return name
