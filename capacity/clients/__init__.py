"""The dialects that the load test speaks, one small class each; adding one is a page of code (docs/load-test.md)."""

from capacity.clients.base import Client, Done, Event, Failed, Ready, Refused, Shown
from capacity.clients.native import NativeClient
from whisper_ops.errors import UserError

__all__ = ["PROTOCOLS", "Client", "Done", "Event", "Failed", "Ready", "Refused", "Shown", "make_client"]

PROTOCOLS: dict[str, type[Client]] = {"native": NativeClient}
"""Name on the command line to class; a class is made anew for each stream."""


def make_client(protocol: str) -> Client:
    """A fresh client; UserError for a name that is none."""
    if protocol not in PROTOCOLS:
        raise UserError(f"no protocol is called {protocol!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]()
