"""What a worker asks of its engine: the settled beginning, the least context; and what becomes of an unfit one."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from server.engines.engine import Done, EngineInfo, EngineRow, Hypothesis, UnfitError
from server.sessions.worker_supervisor import lanes, threads
from server.settings import SimulatedLaw
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import FlawedEngine, World, run


class Noting(FlawedEngine):
    """Keeps every row it gets."""

    rows: list[EngineRow]

    def load(self) -> EngineInfo:
        self.rows = []
        return super().load()

    def decode(self, rows: Any) -> list[Hypothesis]:
        self.rows += rows
        return super().decode(rows)


class Unfit(FlawedEngine):
    """Does not fit on any device."""

    def load(self) -> EngineInfo:
        raise UnfitError("the model does not fit: say a smaller --max-batch")


def _rows(**settings: Any) -> list[EngineRow]:
    async def main() -> list[EngineRow]:
        world = await World(engine=Noting, **settings).ready()
        client = await world.client().connected()
        await client.speak(9.0)
        await client.end()
        engine = world.processes[0].engine
        assert isinstance(engine, Noting)
        await world.close()
        return engine.rows

    rows: list[EngineRow] = run(main)
    return rows


def test_what_is_stable_of_an_utterance_is_the_forced_beginning_of_its_next_window() -> None:
    rows = _rows()
    assert rows[0].prefix == ""
    assert len(rows[-1].prefix.split()) >= 3
    for before, after in itertools.pairwise(rows):
        if after.at_s == before.at_s:
            assert after.prefix.startswith(before.prefix)
        else:
            # The window begins later: with a word that was stable already, or became so in the window before.
            first = spoken(0.45, after.at_s)[0]
            assert after.prefix.split()[0] == first


def test_every_window_has_the_least_context_and_no_longer_one_without_need() -> None:
    assert {row.context_s for row in _rows()} == {4.0, 6.0}
    assert {row.context_s for row in _rows(min_context_seconds=9.0)} == {10.0}
    assert {row.context_s for row in _rows(min_context_seconds=30.0)} == {30.0}


def test_a_device_that_the_engine_cannot_serve_on_fails_at_once_with_the_engines_sentence() -> None:
    async def main() -> None:
        world = World(engine=Unfit)
        await world.until(lambda: world.hub.failure is not None, 5.0)
        assert "the model does not fit: say a smaller --max-batch" in str(world.hub.failure)
        assert world.hub.workers[0].restarts == 0
        await asyncio.sleep(0)
        await world.close()

    run(main)


def test_torchs_engine_gets_two_lanes_and_all_cores_of_its_device() -> None:
    from dataclasses import replace

    from server.devices import WorkerDevice

    plain = World.plain_settings()
    with_torch = replace(plain, engine="torch", devices=(WorkerDevice("cpu", 0),))
    assert lanes(with_torch) == 2
    assert threads(with_torch) >= 1
    assert threads(replace(with_torch, engine="ctranslate2")) == 1


class ByRows(FlawedEngine):
    """Ends its rows one by one, the first at once and the others a tenth of a second apart."""

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        loop = asyncio.get_running_loop()
        for place, heard in enumerate(super().decode(rows)):
            loop.call_later(0.1 * place, done, place, heard)


def test_each_row_of_a_batch_is_told_when_it_ends_and_no_word_is_lost() -> None:
    async def main() -> None:
        world = await World(engine=ByRows).ready()
        clients = [await world.client().connected() for _ in range(4)]
        await asyncio.gather(*(client.speak(9.0) for client in clients))
        for client in clients:
            await client.end()
            assert client.text.split() == spoken(9.0)
            assert len(client.of("partial")) >= 8
        await world.close()

    run(main)


def test_an_engine_that_is_full_gets_fewer_partials_from_everybody_and_finals_stay_quick() -> None:
    async def main() -> None:
        law = SimulatedLaw(a_seconds=0.1, b_seconds=0.05)
        world = await World(engine=ByRows, law=law, max_connections_per_gpu=16).ready()
        clients = [await world.client().connected() for _ in range(16)]
        await asyncio.gather(*(client.speak(20.0) for client in clients))
        counts = [len(client.of("partial")) for client in clients]
        assert max(counts) < 30
        assert min(counts) >= max(counts) - 4
        for client in clients:
            await client.end()
            assert client.text.split() == spoken(20.0)
        await world.close()

    run(main)


def test_an_engine_that_is_slow_to_begin_still_says_every_word() -> None:
    async def main() -> None:
        law = SimulatedLaw(a_seconds=1.0, b_seconds=0.1)
        world = await World(engine=ByRows, law=law, max_connections_per_gpu=16).ready()
        clients = [await world.client().connected() for _ in range(12)]
        await asyncio.gather(*(client.speak(20.0) for client in clients))
        for client in clients:
            await client.end()
            assert client.close_code == 1000
            assert client.text.split() == spoken(20.0)
        await world.close()

    run(main)
