"""Who may come in: one token for everything, another for admin calls, compared in constant time, logged nowhere."""

import secrets
from collections.abc import Mapping

_SUBPROTOCOLS = ("realtime", "openai-beta.realtime-v1", "bearer")
_KEY = "openai-insecure-api-key."
"""A browser cannot set headers, so its token comes as a subprotocol: `bearer, TOKEN`, or OpenAI's way in one."""
OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping"})
"""Orchestrators and load balancers ask these without a token."""


def presented(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: list[str]) -> str | None:
    """The token of a request: a bearer header, `?token=`, or a WebSocket's subprotocols."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if token := query.get("token"):
        return token
    if len(subprotocols) >= 2 and subprotocols[0] == "bearer":
        return subprotocols[1]
    return next((name.removeprefix(_KEY) for name in subprotocols if name.startswith(_KEY)), None)


def subprotocol(offered: list[str]) -> str | None:
    """Which of a WebSocket's subprotocols is accepted: a browser hangs up when it offered some and gets none."""
    return next((name for name in _SUBPROTOCOLS if name in offered), None)


def matches(expected: str, given: str | None) -> bool:
    """Compare two tokens in a time that tells nothing."""
    return given is not None and secrets.compare_digest(expected.encode(), given.encode())


def allowed(path: str, expected: str | None, given: str | None) -> bool:
    """Whether a request to `path` may pass. With no token expected, everything but admin calls may."""
    return path in OPEN_PATHS or expected is None or matches(expected, given)
