"""A file in work takes a slot, memory and a process, and gives them back."""

import asyncio
from typing import Any

import httpx
import pytest

from server.settings import SimulatedLaw
from server.uploads import transcription_job
from tests.server.http.test_routes import _wav, serving
from tests.server.uploads.form_client import PATH, post_form
from tests.server.virtual import World


def test_nothing_is_read_before_there_is_a_slot() -> None:
    taken = 0

    async def body() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(1000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        await world.client().connected()
        answer = await http.post(PATH, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_capacity"
        assert int(answer.headers["retry-after"]) > 0
        assert taken == 0

    serving(work, devices=1, max_connections_per_gpu=1)


def test_a_machine_that_has_nothing_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        for place in ("server.uploads.multipart_form.memory_file", "server.uploads.transcription_job.FileDecoder"):
            with monkeypatch.context() as patch:
                patch.setattr(place, nothing)
                answer = await post_form(http)
            assert answer.status_code == 503
            assert "Too many open files" in answer.json()["error"]["message"]
            assert world.hub.slots.used == 0
        assert (await post_form(http)).status_code == 200

    serving(work)


def test_an_engine_that_fails_is_no_silent_hole_in_the_text() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await post_form(http)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "decode_failed"
        assert world.hub.slots.used == 0
        assert world.hub.counters.failed == 1

    serving(work, law=SimulatedLaw(fault_every=1))


def test_only_a_few_files_are_in_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription_job, "FILES_AT_ONCE", 3)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, world.hub.slots.used)
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        sound = _wav(60.0)
        answers = await asyncio.gather(*(post_form(http, sound) for _ in range(6)))
        watching.cancel()
        assert [answer.status_code for answer in answers] == [200] * 6
        assert most == 2, "of one address one less than there are"

    serving(work, law=SimulatedLaw(a_seconds=0.05, b_seconds=0))


def test_files_of_one_address_keep_nobody_else_out() -> None:
    async def slow() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        await asyncio.sleep(25)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        form_of_x = {"content-type": "multipart/form-data; boundary=x"}
        asking = [asyncio.create_task(http.post(PATH, content=slow(), headers=form_of_x)) for _ in range(12)]
        await asyncio.sleep(0.1)
        assert world.hub.slots.used == transcription_job.FILES_AT_ONCE - 1
        for k in range(3):
            transport = httpx.ASGITransport(world.app, client=(f"10.0.0.{k}", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://there:8000") as other:
                assert (await post_form(other)).status_code == 200
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert (await post_form(http)).status_code == 200
        assert world.hub.slots.used == 0

    serving(work)
