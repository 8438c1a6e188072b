"""A client of the file endpoint, through ASGI."""

from typing import Any

import httpx

from tests.server.http.test_routes import _wav

PATH = "/v1/audio/transcriptions"


async def post_form(http: httpx.AsyncClient, sound: bytes = b"", **fields: Any) -> httpx.Response:
    upload = {"file": ("a.wav", sound or _wav(3.0))}
    return await http.post(PATH, data={name.replace("__", "[]"): value for name, value in fields.items()}, files=upload)
