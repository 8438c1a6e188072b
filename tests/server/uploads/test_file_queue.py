"""Turns of files, by address."""

import asyncio

import pytest

from server.uploads.file_queue import FileQueue


async def test_turns_of_files_are_taken_by_those_with_fewest_and_none_is_lost() -> None:
    turns, began = FileQueue(3), list[str]()

    async def hold(address: str, seconds: float = 60) -> None:
        async with turns.turn(address, seconds):
            began.append(address)
            await asyncio.sleep(60)

    tasks = {name: asyncio.create_task(hold(name[0])) for name in ("a1", "a2", "a3", "b1", "c1")}
    late = asyncio.create_task(hold("d", 0.05))
    await asyncio.sleep(0.005)
    assert began == ["a", "a", "b"]
    with pytest.raises(TimeoutError):
        await late
    for done, then in (("a1", "c"), ("a2", "a"), ("a3", None), ("b1", None), ("c1", None)):
        tasks[done].cancel()
        await asyncio.sleep(0.005)
        assert then is None or began[-1] == then
    assert turns._free == 3
    assert not turns._held
    assert not turns._waiting
