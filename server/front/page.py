"""The pages at `/` and `/docs`: one file each, nothing fetched from elsewhere, and the token in memory only."""

from pathlib import Path
from typing import NamedTuple

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class Page(NamedTuple):
    """A page as it is sent."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = _HEADERS


def _read(name: str) -> Page:
    return Page((Path(__file__).parent / name).read_bytes())


PAGES = {"/": _read("page.html"), "/docs": _read("docs.html")}
"""By path."""
