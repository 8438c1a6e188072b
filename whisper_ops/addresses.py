"""Addresses as users write them, checked: `http://asr-1:8000`, `wss://host/ws`."""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

PLAIN = {"ws": "http", "wss": "https"}
"""A server's WebSocket and its HTTP are at one address."""
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
LONGEST = 2048


def parsed(text: str, schemes: Collection[str]) -> SplitResult:
    """The parts of an address whose scheme is one of `schemes`.

    Raises:
        ValueError: it is none; the message says why, as the second half of a sentence.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(_plain(str(error))) from None
    if parts.scheme not in schemes:
        raise ValueError(f"it does not begin with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if len(text) > LONGEST or not text.isprintable() or set(' <>"{}|\\^`') & set(text):
        raise ValueError("it holds what no address can hold")
    if not _is_host(parts.hostname or ""):
        raise ValueError("it names no host")
    if port == 0:
        raise ValueError("no server listens on port 0")
    return parts


def _is_host(name: str) -> bool:
    if name.isascii():
        return _HOST.fullmatch(name) is not None
    import httpx  # noqa: PLC0415  # names in other scripts are rare, and this takes a while

    try:
        return bool(httpx.URL(f"http://{name}").raw_host)
    except httpx.InvalidURL:
        return False


def shown(text: str) -> str:
    """An address for a sentence: without what may be a password or a token in it."""
    before, at, after = text.rpartition("@")
    scheme = before.partition("://")[0] + "://" if at and "://" in before else ""
    return f"{scheme}{after}".partition("?")[0][:200]


def _plain(why: str) -> str:
    """What Python says of an address, as the second half of a sentence."""
    if "IPv6" in why:
        return "its brackets do not close"
    return "its port is no number from 1 to 65535" if "ort" in why else why
