"""What clients of /ws are told, with the simulated engine and virtual time."""

import asyncio
import math
from typing import Any

import pytest

from server.settings import SimulatedLaw
from tests.server.virtual import World, loud, run
from whisper_ops.tone_language import SHORTEST_SECONDS, TONE_SECONDS, VOCABULARY, WORD_SECONDS


def spoken(seconds: float, start: float = 0.0) -> list[str]:
    """The words of the endless speech of which enough stands in a stretch of it to be heard."""
    first = math.ceil((start + SHORTEST_SECONDS - TONE_SECONDS) / WORD_SECONDS)
    last = int((start + seconds - SHORTEST_SECONDS) / WORD_SECONDS)
    return [VOCABULARY[n % len(VOCABULARY)] for n in range(max(0, first), last + 1)]


def test_each_step_is_told_and_the_text_follows() -> None:
    async def main() -> None:
        world = World()
        client = await world.client().connected()
        assert [s["state"] for s in client.of("status")] == ["connected", "allocating_gpu", "loading_model"]
        assert client.of("ready")[0]["received_samples"] == 0
        await client.speak(4.0)
        await client.speak(1.5, level=0)
        partials, finals = client.of("partial"), client.of("final")
        assert len(partials) >= 5
        assert [final["segment"] for final in finals] == [0]
        await client.speak(2.0)
        await client.end()
        assert client.close_code == 1000
        assert client.text.split()[:9] == spoken(4.0)[:9]
        done = client.messages[-1]
        assert done["type"] == "done"
        assert done["audio_s"] == pytest.approx(7.5)
        assert done["segments"] == 2
        await world.close()

    run(main)


def test_a_stable_prefix_never_changes() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(9.0)
        await client.end()
        stable = ""
        for message in client.of("partial"):
            assert message["text"].startswith(stable)
            stable = message["text"][: message["stable_chars"]]
        assert client.text.startswith(stable)
        assert len(stable.split()) >= 15
        await world.close()

    run(main)


def test_speech_without_a_pause_is_cut_and_no_word_is_lost_or_said_twice() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(60.0)
        await client.end()
        assert len(client.of("final")) >= 4
        assert client.text.split() == spoken(60.0)
        await world.close()

    run(main)


def test_in_silence_lag_is_near_zero_and_nothing_is_decoded() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(30.0, level=0)
        (session,) = world.hub.sessions.values()
        assert session.lag_s < 0.5
        assert session.audio_log.end - session.audio_log.begin < 3 * 16000, "silence is not kept"
        assert world.hub.engine_stats[0].batches == 0
        await client.end()
        assert client.text == ""
        await world.close()

    run(main)


def test_flush_makes_a_final_of_what_was_spoken() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(2.0)
        client.say('{"type":"flush"}')
        await world.until(lambda: bool(client.of("final")))
        assert client.text.split() == spoken(2.0)
        await client.speak(2.0)
        await client.end()
        assert len(client.of("final")) == 2
        await world.close()

    run(main)


def test_words_come_with_their_times_when_asked_for() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client(words="true").connected()
        await client.speak(4.0)
        await client.end()
        (final,) = client.of("final")
        assert [word["word"] for word in final["words"]] == final["text"].split()
        assert final["words"][4]["end"] == pytest.approx(1.9, abs=0.02)
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("query", "said", "code"),
    [
        ({"encoding": "opus"}, "opus", 1003),
        ({"sample_rate": "4000"}, "4000", 1003),
        ({"sample_rate": "fast"}, "fast", 1003),
        ({}, "{nonsense", 1007),
        ({}, '{"type":"dance"}', 1003),
        ({}, '{"type":"end","now":true}', 1003),
        ({"words": "maybe"}, "maybe", 1003),
        ({"langauge": "de"}, "langauge", 1003),
        ({"offset": "²"}, "offset", 1003),
    ],
)
def test_what_cannot_be_understood_is_named_and_ends_the_stream(query: dict[str, str], said: Any, code: int) -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client(**query).connected()
        if not query:
            client.send(said) if isinstance(said, bytes) else client.say(said)
        await client.finished()
        assert client.close_code == code
        (error,) = client.of("error")
        assert str(said if query else "").strip("{") in error["message"]
        await asyncio.sleep(1)
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_one_bad_row_fails_alone() -> None:
    async def main() -> None:
        world = await World(law=SimulatedLaw(a_seconds=0.05, b_seconds=0.01, fault_every=7)).ready()
        clients = [await world.client().connected() for _ in range(4)]
        await asyncio.gather(*(client.speak(6.0) for client in clients))
        for client in clients:
            await client.end()
            assert client.close_code == 1000
            assert client.text.split() == spoken(6.0)
        await world.close()

    run(main)


def test_when_the_engine_cannot_keep_up_partials_come_less_often_for_everybody_alike() -> None:
    async def main() -> None:
        world = await World(law=SimulatedLaw(a_seconds=0.4, b_seconds=0.1), max_connections_per_gpu=16).ready()
        clients = [await world.client().connected() for _ in range(16)]
        await asyncio.gather(*(client.speak(20.0) for client in clients))
        counts = [len(client.of("partial")) for client in clients]
        assert max(counts) < 16
        assert min(counts) >= max(counts) - 3
        for client in clients:
            await client.end()
            assert client.text.split() == spoken(20.0)
        await world.close()

    run(main)


def test_a_server_that_is_far_behind_stops_reading_and_then_gives_up() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(1.0)
        world.live(0).engine.hanging = True
        for _ in range(95):
            client.send(loud(16000))
        await world.until(lambda: client.over or world.hub.counters.paused > 0)
        assert world.hub.counters.paused == 1
        assert not client.over
        await world.close()

    run(main)


def test_a_silent_client_is_told_and_ended() -> None:
    async def main() -> None:
        world = await World(idle_seconds=5.0).ready()
        client = await world.client().connected()
        await client.finished()
        assert client.of("error")[0]["code"] == "idle_timeout"
        assert client.close_code == 1001
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_a_session_lasts_no_longer_than_allowed() -> None:
    async def main() -> None:
        world = await World(session_seconds=5.0).ready()
        client = await world.client().connected()
        await client.speak(8.0)
        assert client.close_code == 1001
        assert client.of("error")[0]["code"] == "session_timeout"
        await world.close()

    run(main)
