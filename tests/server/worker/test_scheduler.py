"""Clients that send faster than real time beside clients that speak, in virtual time: latencies are exact there."""

import asyncio
import itertools

import pytest

from server.settings import SimulatedLaw
from server.worker.real_time import CREDIT_SECONDS, RealTimePace
from server.worker.scheduler import Job, context_seconds, contexts_from, next_batch
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, loud, run

LAW = SimulatedLaw(a_seconds=0.15, b_seconds=0.05)


async def _talk(client: Client, utterances: int) -> list[float]:
    """Three words and a pause, again and again. How long each final took from the end of its words, in seconds."""
    loop, took = client.world.loop, []
    for n in range(utterances):
        await client.speak(1.2)
        ended_at = loop.time()
        quiet = asyncio.create_task(client.speak(1.2, level=0))
        await client.world.until(lambda n=n: len(client.of("final")) > n)  # type: ignore[misc]  # bound now
        took.append(loop.time() - ended_at)
        await quiet
    return took


async def _latencies(files: int, chunk: int, speaking: bool) -> tuple[list[float], list[Client]]:
    world = await World(law=LAW, max_connections_per_gpu=16).ready()
    good = [await world.client().connected() for _ in range(4)]
    fast = [await world.client().connected() for _ in range(files)]
    sound = loud(120 * 16000) if speaking else bytes(2 * 120 * 16000)
    for client in fast:
        for at in range(0, len(sound), chunk):
            client.send(sound[at : at + chunk])
        client.say('{"type":"end"}')
    took = await asyncio.gather(*(_talk(client, 12) for client in good))
    await asyncio.gather(*(world.until(lambda client=client: client.over, 600) for client in fast))  # type: ignore[misc]
    await world.close()
    return sorted(itertools.chain(*took)), fast


@pytest.mark.parametrize("chunk", [3200, 1 << 20])
@pytest.mark.parametrize("speaking", [True, False])
def test_whoever_sends_faster_than_real_time_delays_nobody_and_loses_nothing(chunk: int, speaking: bool) -> None:
    async def main() -> None:
        alone, _ = await _latencies(0, chunk, speaking)
        beside, fast = await _latencies(8, chunk, speaking)
        for share in (0.5, 0.95):
            index = int(share * len(alone))
            assert beside[index] <= 1.2 * alone[index], (share, alone, beside)
        for client in fast:
            assert client.close_code == 1000, client.messages[-1]
            assert client.text.split() == (spoken(120.0) if speaking else [])

    run(main)


def test_surplus_is_decoded_when_nothing_else_is_due_and_alone_while_others_speak() -> None:
    late, partial = Job("final", 9.0, True, 10.0), Job("partial", 9.5, False, 10.0)
    surplus = [Job(f"surplus {n}", 1.0, True, 10.0, 20.0 - n) for n in range(3)]
    assert [job.item for job in next_batch([*surplus, late, partial], 10.0, 8)] == ["final", "partial"]
    waiting = Job("not due", 10.5, False, 4.0)
    assert [job.item for job in next_batch([*surplus, waiting], 10.0, 8)] == ["surplus 2"]
    assert [job.item for job in next_batch(surplus, 10.0, 8)] == ["surplus 2", "surplus 1", "surplus 0"]
    assert [job.item for job in next_batch([*surplus, partial], 30.0, 8)][:3] == ["surplus 0", "surplus 1", "surplus 2"]


def test_rows_with_contexts_of_their_own_go_with_those_like_them_and_nobody_waits_for_ever() -> None:
    contexts = [6.0, 15.0, 4.0, 6.5, 14.0, 5.5, 4.5, 15.0]
    jobs = [Job(n, float(n), False, context) for n, context in enumerate(contexts)]
    assert [job.item for job in next_batch(jobs, 10.0, 3, mixed=True)] == [0, 3, 5]
    assert [job.item for job in next_batch(jobs[:3], 10.0, 3, mixed=True)] == [0, 1, 2]
    final = Job(99, 3.5, True, 15.0)
    assert next_batch([*jobs, final], 10.0, 3, mixed=True)[0] is final
    left, rounds = dict(enumerate(jobs)), []
    while left:
        taken = [job.item for job in next_batch(left.values(), 10.0, 3, mixed=True)]
        rounds.append(taken)
        for item in taken:
            del left[item]
    assert [min(taken) == taken[0] for taken in rounds] == [True] * 3, "the most urgent one always goes"


def test_audio_in_real_time_is_never_surplus_and_what_is_replayed_is_free() -> None:
    pace = RealTimePace()
    for n in range(600):
        pace.feed(0.1, n * 0.1 + (0.5 if n % 7 else 0.0))  # a network that delivers in bursts
        assert not pace.ahead(n * 0.1)
    pace.feed(60.0, 60.0)
    assert pace.ahead(60.0)
    assert not pace.ahead(60.0 + 60.0)
    taken_over = RealTimePace(30.0)
    taken_over.feed(30.0, 0.0)
    assert not taken_over.ahead(0.0)
    taken_over.feed(CREDIT_SECONDS + 1.0, 0.0)
    assert taken_over.ahead(0.0)


def test_where_rows_have_contexts_of_their_own_a_batch_is_the_most_urgent_jobs() -> None:
    jobs = [Job(context, due, final=False, context=context) for context, due in ((4.0, 3.0), (9.5, 1.0), (5.5, 2.0))]
    assert [job.item for job in next_batch(jobs, 5.0, 2, mixed=True)] == [9.5, 5.5]
    assert [job.item for job in next_batch(jobs, 5.0, 2)] == [9.5, 5.5]
    assert [job.item for job in next_batch(jobs, 5.0, 8)] == [9.5, 5.5]
    assert [job.item for job in next_batch(jobs, 5.0, 8, mixed=True)] == [9.5, 5.5, 4.0]
    assert context_seconds(3.2, contexts_from(0.0, mixed=True)) == 4.5
    assert contexts_from(9.0, mixed=True)[:2] == (9.0, 9.5)
    assert contexts_from(99.0, mixed=True) == (30.0,)
