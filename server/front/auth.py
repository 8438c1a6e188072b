"""Who may come in: one token for everything, another for admin calls, compared in constant time, logged nowhere."""

import secrets
from collections.abc import Mapping

OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping"})
"""Orchestrators and load balancers ask these without a token."""


def presented(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: list[str]) -> str | None:
    """The token of a request: a bearer header, `?token=`, or the WebSocket subprotocols `bearer, TOKEN`."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if token := query.get("token"):
        return token
    if len(subprotocols) >= 2 and subprotocols[0] == "bearer":
        return subprotocols[1]
    return None


def matches(expected: str, given: str | None) -> bool:
    """Compare two tokens in a time that tells nothing."""
    return given is not None and secrets.compare_digest(expected.encode(), given.encode())


def allowed(path: str, expected: str | None, given: str | None) -> bool:
    """Whether a request to `path` may pass. With no token expected, everything but admin calls may."""
    return path in OPEN_PATHS or expected is None or matches(expected, given)
