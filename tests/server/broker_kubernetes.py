"""A broker's source of members over a scripted API server of Kubernetes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from server.broker.broker_settings import KubernetesService
from server.broker.endpoint_slices import EndpointSlices
from server.broker.kubernetes_api import KubernetesApi
from server.broker.membership import MemberAddress
from tests.support.api_server import ApiServer


def source(api: ApiServer, account: Path, port: int | None = 8000, scheme: str = "http") -> EndpointSlices:
    return EndpointSlices(KubernetesApi(api.url, account), KubernetesService("asr", None, scheme, port), "voice")


async def until(condition: Callable[[], object], task: "asyncio.Task[None]") -> None:
    """Wait for what `task` works at."""
    async with asyncio.timeout(20):
        while not condition():  # what is waited for tells nobody
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)


class FollowedMembers:
    """A fleet's two calls, one after the other, as `Fleet.run` makes them."""

    def __init__(self, members: EndpointSlices) -> None:
        self.members, self.found = members, list[MemberAddress]()
        self.errors: list[str] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.members.close()

    async def _run(self) -> None:
        while True:
            try:
                self.found = await self.members.find()
            except OSError as error:
                self.errors.append(str(error))
            await self.members.wait_for_change()

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, self._task)

    @property
    def names(self) -> list[str]:
        return [place.name for place in self.found]
