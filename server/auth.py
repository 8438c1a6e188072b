"""Tokens: one for everything, another for admin calls; compared in constant time, never logged."""

import secrets
from collections.abc import Mapping, Sequence

_SUBPROTOCOLS = ("realtime", "openai-beta.realtime-v1", "bearer")
_KEY = "openai-insecure-api-key."
"""A browser cannot set headers, so its token comes as a subprotocol: `bearer, TOKEN`, or OpenAI's way in one."""
OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping"})
"""Open without a token, for orchestrators and load balancers."""


def presented(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Every token of a request: of a bearer header, `?token=`, and a WebSocket's subprotocols."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    found = [value.strip() if scheme.lower() == "bearer" else "", query.get("token", "")]
    if len(subprotocols) >= 2 and subprotocols[0] == "bearer":
        found.append(subprotocols[1])
    found += [name.removeprefix(_KEY) for name in subprotocols if name.startswith(_KEY)]
    return tuple(token for token in found if token)


def subprotocol(offered: list[str]) -> str | None:
    """Which of a WebSocket's subprotocols is accepted: a browser closes when it offered some and gets none."""
    return next((name for name in _SUBPROTOCOLS if name in offered), None)


def matches(expected: str | None, given: Sequence[str]) -> bool:
    """Whether one of the tokens is the expected one, in a time that tells nothing; with none expected, none is."""
    same = [expected is not None and secrets.compare_digest(expected.encode(), one.encode()) for one in given]
    return any(same)
