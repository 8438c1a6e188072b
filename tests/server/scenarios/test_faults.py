"""Workers that die, hang or cannot start, and clients whose network goes: nobody loses a word."""

import asyncio

import pytest

from server.sessions.refusals import AdmissionRefused
from server.settings import SimulatedLaw
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, World, loud, run


async def _speaking(world: World, count: int) -> list[Client]:
    return [await world.client().connected() for _ in range(count)]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_killed_worker_costs_a_pause_and_no_word(devices: int) -> None:
    async def main() -> None:
        world = await World(devices, max_connections_per_gpu=8).ready()
        clients = await _speaking(world, 8)
        talk = [asyncio.create_task(client.speak(20.0)) for client in clients]
        await asyncio.sleep(9.3)
        world.live(0).kill()
        await asyncio.gather(*talk)
        for client in clients:
            await client.end()
            assert client.text.split() == spoken(20.0)
            segments = [final["segment"] for final in client.of("final")]
            assert segments == sorted(set(segments))
        assert world.hub.workers[0].restarts == 1
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_with_room_elsewhere_streams_move_at_once() -> None:
    async def main() -> None:
        world = await World(2).ready()
        clients = await _speaking(world, 4)
        moved = [c for c in clients if c.of("ready")[0]["gpu_id"] == 0]
        await asyncio.gather(*(client.speak(3.0) for client in clients))
        world.live(0).kill()
        await world.until(lambda: all(session.gpu_id == 1 for session in world.hub.sessions.values()))
        assert len(moved) == 2
        assert len(world.hub.slots.gpus[1].active) == 4
        assert world.hub.slots.gpus[0].used == 0
        for client in clients:
            await client.end()
            assert client.text.split() == spoken(3.0)
        await world.close()

    run(main)


def test_a_hung_worker_is_replaced() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(4.0)
        world.live(0).engine.hanging = True
        await client.speak(25.0)
        assert world.hub.workers[0].restarts == 1
        await client.end()
        assert client.text.split() == spoken(29.0)
        await world.close()

    run(main)


def test_a_crash_loop_fails_the_gpu_takes_its_slots_and_tells_its_clients() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(2.0)
        world.broken = True
        world.live(0).kill()
        await world.until(lambda: world.hub.slots.gpus[0].state == "failed")
        await client.finished()
        assert client.of("error")[0]["code"] == "server_fault"
        assert client.close_code == 1011
        assert world.hub.slots.total == 0
        assert world.hub.status == "critical"
        assert not world.hub.ready
        late = world.client()
        await late.finished()
        assert late.of("error")[0]["message"] == "No GPU resources available"
        await world.close()

    run(main)


def test_a_server_that_never_had_a_worker_says_why_and_one_that_had_stays() -> None:
    async def main() -> None:
        world = World(2)
        world.broken = True
        await world.until(lambda: all(gpu.state == "failed" for gpu in world.hub.slots.gpus))
        assert world.hub.failure == f"no worker could be started on any device: {world.hub.workers[0].reason}"
        await world.close()
        served = await World().ready()
        served.broken = True
        served.live(0).kill()
        await served.until(lambda: served.hub.slots.gpus[0].state == "failed")
        assert served.hub.failure is None
        await served.close()

    run(main)


def test_a_failed_gpu_leaves_the_others_working_and_the_server_degraded() -> None:
    async def main() -> None:
        world = await World(2).ready()
        world.broken = True
        world.live(0).kill()
        await world.until(lambda: world.hub.slots.gpus[0].state == "failed")
        assert world.hub.status == "degraded"
        client = await world.client().connected()
        await client.speak(2.0)
        await client.end()
        assert client.text.split() == spoken(2.0)
        await world.close()

    run(main)


def test_a_dropped_client_resumes_and_gets_every_final_once() -> None:
    async def main() -> None:
        world = await World().ready()
        before = await world.client().connected()
        await before.speak(4.0)
        await before.speak(1.2, level=0)
        await world.until(lambda: bool(before.of("final")))
        await before.speak(2.0)
        before.drop()
        await before.finished()
        assert world.hub.slots.used == 1
        heard = round(before.of("final")[-1]["end"] * 16000)
        after = await world.client(resume=before.resume_token, offset=heard).connected()
        assert after.of("ready")[0]["received_samples"] == before.sent
        assert after.of("ready")[0]["connection_id"] == before.of("ready")[0]["connection_id"]
        await after.speak(2.0)
        await after.end()
        assert world.hub.counters.resumed == 1
        assert f"{before.text} {after.text}".split() == spoken(4.0) + spoken(4.0, start=5.2)
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_finals_lost_on_the_way_are_sent_again_and_the_others_are_not() -> None:
    async def main() -> None:
        world = await World().ready()
        before = await world.client().connected()
        for _ in range(3):
            await before.speak(3.0)
            await before.speak(1.0, level=0)
        before.drop()
        await before.finished()
        finals = before.of("final")
        assert len(finals) == 3
        # Of the three, only the first had reached the client when its network went.
        offset = round(finals[0]["end"] * 16000)
        after = await world.client(resume=before.resume_token, offset=offset).connected()
        await after.end()
        assert after.of("final") == finals[1:]
        await world.close()

    run(main)


def test_a_drop_that_nobody_resumes_frees_the_slot_after_ten_seconds() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        await client.speak(1.0)
        client.drop()
        await asyncio.sleep(9)
        assert world.hub.slots.used == 1
        await asyncio.sleep(2)
        assert world.hub.slots.used == 0
        assert world.hub.counters.failed == 1
        await world.close()

    run(main)


def test_a_server_that_does_not_know_the_token_starts_at_the_offset() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client(resume="of-another-server", offset=16000 * 8).connected()
        assert client.of("ready")[0]["received_samples"] == 16000 * 8
        await client.speak(4.0)
        await client.end()
        assert client.text.split() == spoken(4.0, start=8.0)
        assert client.of("final")[0]["start"] >= 8.0
        await world.close()

    run(main)


def test_a_client_that_comes_back_before_its_drop_is_noticed_takes_its_session_over() -> None:
    async def main() -> None:
        world = await World().ready()
        before = await world.client().connected()
        await before.speak(3.0)
        after = await world.client(resume=before.resume_token, offset=0).connected()
        await after.speak(3.0)
        await after.end()
        before.drop()
        await before.finished()
        assert after.text.split() == spoken(6.0)
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_an_overloaded_stream_is_given_up_and_counted() -> None:
    async def main() -> None:
        law = SimulatedLaw(a_seconds=2.0, b_seconds=1.0)
        world = await World(law=law, max_connections_per_gpu=40).ready()
        clients = [await world.client().connected() for _ in range(40)]
        for client in clients:
            for _ in range(100):
                client.send(loud(16000))
        await world.until(lambda: all(c.over for c in clients), 4000)
        codes = {client.close_code for client in clients}
        assert codes == {1013}
        assert world.hub.counters.overloaded == 40
        assert world.hub.slots.used == 0
        await world.close()

    run(main)


def test_a_stream_whose_audio_cannot_be_handled_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from server.worker.stream import Stream

    receive = Stream.receive

    def flawed(self: Stream, data: bytes, now: float) -> None:
        if data.startswith(b"poison"):
            raise ValueError("a decoder's fault")
        receive(self, data, now)

    monkeypatch.setattr(Stream, "receive", flawed)

    async def main() -> None:
        world = await World().ready()
        good, bad = [await world.client().connected() for _ in range(2)]
        await good.speak(1.0)
        bad.send(b"poison")
        await bad.finished()
        assert bad.of("error")[0]["code"] == "server_fault"
        assert bad.close_code == 1011
        await good.speak(2.0)
        await good.end()
        assert good.text.split() == spoken(3.0)
        assert world.hub.workers[0].restarts == 0
        await world.close()

    run(main)


def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.sessions.limits.OUTBOX_LIMIT", 3)

    async def main() -> None:
        world = await World().ready()
        client = await world.client().connected()
        client.stalled = True
        for _ in range(8):
            await client.speak(1.0)
            await client.speak(1.0, level=0)
        assert world.hub.sessions == {}
        assert world.hub.slots.used == 0
        assert world.hub.counters.failed == 1
        await world.close()

    run(main)


async def test_a_worker_that_cannot_even_be_started_is_tried_again_and_then_given_up() -> None:
    from server.devices import WorkerDevice
    from server.sessions.hub import Hub
    from server.sessions.worker_supervisor import Process, WorkerTimeouts
    from server.settings import Settings

    async def launch(theirs: object) -> Process:
        raise OSError(24, "Too many open files")

    patience = WorkerTimeouts(first_backoff=0.001, max_deaths=3)
    hub = Hub(Settings(devices=(WorkerDevice("sim", 0),), engine="simulated", model="simulated"), patience, launch)
    task = asyncio.create_task(hub.run())
    hub.admission.admit("somebody", "here")
    with pytest.raises(AdmissionRefused, match="Too many open files"):
        await hub.wait_ready("somebody")
    assert hub.workers[0].restarts == 2
    task.cancel()
