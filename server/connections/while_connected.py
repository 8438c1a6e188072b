"""Work that ends when the client who waits for it leaves."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect

T = TypeVar("T")


async def while_connected(work: Coroutine[None, None, T], disconnect: Coroutine[None, None, None]) -> T:
    """Do `work` unless `disconnect` returns first; either is cancelled when the other is over.

    Raises:
        ClientDisconnect: the client left.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnect)
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})
