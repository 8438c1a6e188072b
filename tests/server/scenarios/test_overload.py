"""An engine with two to three times more to do than it can: text comes late, and none is lost or invented.

Virtual time. Speech without a pause is the worst load there is: each 15 s of it need a decode of their own, however
seldom partials come. The only exception is the documented one: a stream 90 s behind is ended, and told so.
"""

import asyncio
import itertools

import pytest

from server.sessions.limits import GIVE_UP_SECONDS, PAUSE_SECONDS
from server.sessions.worker_supervisor import WorkerTimeouts
from server.settings import SimulatedLaw
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, run

STREAMS = 8
SLOW = SimulatedLaw(a_seconds=4.0, b_seconds=3.0)
"""Sixteen seconds for a batch of four: 8 streams of 15 s windows need 32 s of it every 15 s."""
PATIENT = WorkerTimeouts(heartbeat=4.0, decode=60.0, load=30.0)


async def _overloaded(words: str = "false", idle_seconds: float = 120.0) -> tuple[World, list[Client]]:
    world = await World(law=SLOW, patience=PATIENT, max_connections_per_gpu=STREAMS, idle_seconds=idle_seconds).ready()
    return world, [await world.client(words=words).connected() for _ in range(STREAMS)]


async def _end(client: Client) -> None:
    client.say('{"type":"end"}')
    await client.world.until(lambda: client.over, 300)


@pytest.mark.parametrize("words", ["false", "true"])
def test_every_word_comes_late_when_nobody_pauses(words: str) -> None:
    async def main() -> None:
        world, clients = await _overloaded(words)
        await asyncio.gather(*(client.speak(40.0) for client in clients))
        behind = [session.lag_s for session in world.hub.sessions.values()]
        assert max(behind) > 15.0  # else this tests nothing
        await asyncio.gather(*map(_end, clients))
        for client in clients:
            assert client.close_code == 1000
            assert client.text.split() == spoken(40.0)
        await world.close()

    run(main)


def test_every_utterance_comes_late_and_in_order() -> None:
    async def main() -> None:
        world, clients = await _overloaded()

        async def talk(client: Client) -> None:
            for _ in range(10):
                await client.speak(2.8)
                await client.speak(1.2, level=0)

        await asyncio.gather(*map(talk, clients))
        assert max(session.lag_s for session in world.hub.sessions.values()) > 15.0
        await asyncio.gather(*map(_end, clients))
        said = [word for k in range(10) for word in spoken(2.8, k * 4.0)]
        for client in clients:
            assert client.close_code == 1000
            assert client.text.split() == said
            assert len(client.of("final")) == 10
        await world.close()

    run(main)


def test_a_worker_that_dies_far_behind_loses_nothing() -> None:
    async def main() -> None:
        world, clients = await _overloaded()
        talk = [asyncio.create_task(client.speak(40.0)) for client in clients]
        await asyncio.sleep(30)
        world.live(0).kill()
        await asyncio.gather(*talk)
        await asyncio.gather(*map(_end, clients))
        assert world.hub.workers[0].restarts == 1
        for client in clients:
            assert client.text.split() == spoken(40.0)
        await world.close()

    run(main)


def test_a_client_that_drops_far_behind_gets_everything_when_it_resumes() -> None:
    async def main() -> None:
        world, clients = await _overloaded()
        await asyncio.gather(*(client.speak(40.0) for client in clients))
        first = clients[0]
        first.drop()
        await world.until(lambda: first.over)
        heard = round(first.of("final")[-1]["end"] * 16000) if first.of("final") else 0
        again = await world.client(resume=first.resume_token, offset=heard).connected()
        await again.speak(4.0)
        await asyncio.gather(*map(_end, [again, *clients[1:]]))
        assert f"{first.text} {again.text}".split() == spoken(44.0)
        await world.close()

    run(main)


def test_a_client_that_waits_for_its_text_is_not_idle() -> None:
    async def main() -> None:
        world, clients = await _overloaded(idle_seconds=10.0)
        await asyncio.gather(*(client.speak(30.0) for client in clients))
        await asyncio.gather(*(client.finished() for client in clients))
        for client in clients:
            assert [error["code"] for error in client.of("error")] == ["idle_timeout"]
            # Nobody said that it is complete, and it is decoded all the same.
            assert client.text.split() == spoken(30.0)
        await world.close()

    run(main)


def test_beyond_the_limit_a_stream_is_ended_and_told_and_what_it_got_is_right() -> None:
    async def main() -> None:
        world, clients = await _overloaded()
        talk = [asyncio.create_task(client.speak(400.0)) for client in clients]
        worst = 0.0
        while not all(client.over for client in clients):
            await asyncio.sleep(1.0)
            worst = max([worst, *(session.lag_s for session in world.hub.sessions.values())])
        for task in talk:
            task.cancel()
        for client in clients:
            assert [error["code"] for error in client.of("error")] == ["overloaded"]
            assert client.close_code == 1013
            got = client.text.split()
            assert got == spoken(400.0)[: len(got)]
            assert len(got) > 50
        # What a paused client went on saying was not taken in: memory has a bound.
        assert PAUSE_SECONDS < worst < GIVE_UP_SECONDS
        assert world.hub.counters.paused >= STREAMS
        assert world.hub.counters.overloaded == STREAMS
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


# --- in order: finals keep their time, partials stretch, and it comes back at once --------------------------

LAW = SimulatedLaw(a_seconds=0.1, b_seconds=0.1)
"""Half a second for a batch of four, so eight rows a second: two texts a second of four streams that never pause."""
SPEECH_SECONDS, PAUSE = 6.0, 1.2


async def _talk(client: Client, utterances: int) -> tuple[list[float], float]:
    """Utterances with pauses. Seconds from the end of each to its final; partials a second of speech."""
    loop, took, told = client.world.loop, [], len(client.of("partial"))
    for _ in range(utterances):
        told_before = len(client.of("final"))
        await client.speak(SPEECH_SECONDS)
        ended_at = loop.time()
        quiet = asyncio.create_task(client.speak(PAUSE, level=0))
        await client.world.until(lambda before=told_before: len(client.of("final")) > before)  # type: ignore[misc]
        took.append(loop.time() - ended_at)
        await quiet
    return took, (len(client.of("partial")) - told) / (utterances * SPEECH_SECONDS)


async def _together(clients: list[Client]) -> tuple[float, float]:
    """The slowest final in twenty, in seconds, and the partials a second of the mean stream."""

    async def later(client: Client, seconds: float) -> tuple[list[float], float]:
        await client.speak(seconds, level=0)
        return await _talk(client, 8)

    said = await asyncio.gather(*(later(client, n * 0.37 % 4) for n, client in enumerate(clients)))
    took = sorted(itertools.chain(*(each for each, _ in said)))
    return took[int(0.95 * len(took))], sum(rate for _, rate in said) / len(said)


def test_beyond_the_limit_finals_keep_their_time_partials_stretch_and_it_comes_back_at_once() -> None:
    async def main() -> None:
        world = await World(law=LAW, max_connections_per_gpu=32).ready()
        clients = [await world.client().connected() for _ in range(16)]
        finals_s, partials = await _together(clients[:4])
        worst_s, rare = await _together(clients)
        # A final waits for the batch in work, and for the few finals that come with it; partials give way.
        assert worst_s <= finals_s + 1.0, (finals_s, worst_s)
        assert rare < 0.5 * partials, (partials, rare)
        for client in clients[4:]:
            client.leave()
        again_s, often = await _together(clients[:4])
        assert again_s == pytest.approx(finals_s, abs=0.3)
        assert often == pytest.approx(partials, rel=0.1)
        await world.close()

    run(main)
