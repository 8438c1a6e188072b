"""The pages at `/` and `/docs` and their parts below `/page/`: files of this package, nothing fetched from elsewhere.

The pages and parts hold nothing to hide: the parts are given without a token, since a browser cannot send one for them,
and a page itself is also the answer to a person whose token is missing. Figures and sound are asked for with the token.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.http.json_answers import error_answer

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_SAFE = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
_PAGE = (
    (b"content-security-policy", _POLICY.encode()),
    (b"permissions-policy", b"microphone=(self), camera=(), geolocation=()"),
)
_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_FOLDER = Path(__file__).parent / "page_files"


class StaticPage(NamedTuple):
    """A page, or a part of one, as it is sent."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def _read(path: Path) -> StaticPage:
    kind = ((b"content-type", _KINDS[path.suffix]), *_SAFE)
    return StaticPage(path.read_bytes(), kind + _PAGE if path.suffix == ".html" else kind)


PAGES = {"/": _read(_FOLDER / "index.html"), "/docs": _read(_FOLDER / "docs.html")}
"""By path."""
PARTS = {
    f"/page/{path.name}": _read(path)
    for path in sorted(_FOLDER.iterdir())
    if path.suffix in _KINDS and path.suffix != ".html"
}
"""What they are made of, by path: scripts, styles and a picture."""


def routes(pages: Mapping[str, StaticPage]) -> list[Route]:
    """Where the pages and all parts are."""

    async def answer(request: Request) -> Response:
        path = request.scope["path"]
        page = pages.get(path) or PARTS.get(path)
        if page is None:
            return error_answer(404, "there is no such file")
        return Response(page.body, headers={name.decode(): value.decode() for name, value in page.headers})

    return [Route(path, answer) for path in (*pages, "/page/{name}")]
