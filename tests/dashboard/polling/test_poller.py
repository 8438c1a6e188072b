"""Each server is polled by itself: a hung, slow or dead one never touches another."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dashboard.polling.poller import BACKOFF_SECONDS, Poller, Pollers
from tests.dashboard.sockets import answering, http, listening, never, said, until
from whisper_ops import wire
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.snapshot_client.source import Remarks, SourceError


class Scripted:
    """A source that does what the test says at each read."""

    def __init__(self, script: Callable[[int], float | Exception | None], name: str = "one") -> None:
        self.name = name
        self.remarks = Remarks()
        self.reads = 0
        self.closed = False
        self._script = script

    async def read(self) -> Snapshot:
        self.reads += 1
        step = self._script(self.reads)
        if isinstance(step, Exception):
            raise step
        if step is not None:
            await asyncio.sleep(step)
        return Snapshot(server=self.name, at=float(self.reads))

    async def close(self) -> None:
        self.closed = True


async def run_until(target: Poller | Pollers, condition: Callable[[list[Snapshot]], object]) -> list[Snapshot]:
    seen: list[Snapshot] = []
    task = asyncio.create_task(target.run(seen.append))
    try:
        await until(lambda: task.done() or condition(seen))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return seen


async def test_a_hung_and_a_dead_server_do_not_slow_a_live_one() -> None:
    async with (
        listening(never) as hung,
        listening(never) as dead,
        listening(answering(lambda: http(wire.encode(said())))) as live,
    ):
        names = {word: f"127.0.0.1:{port}" for word, port in (("hung", hung), ("dead", dead), ("live", live))}
        fleet = Pollers(
            [WhisperOpsSource(f"http://{names['hung']}"), WhisperOpsSource("http://127.0.0.1:1"),
             WhisperOpsSource(f"http://{names['live']}")],
            interval=0.02, deadline=0.5,
        )  # fmt: skip
        seen = await run_until(fleet, lambda s: sum(x.server == names["hung"] for x in s) >= 1)
    live_seen = [snapshot for snapshot in seen if snapshot.server == names["live"]]
    # While one poll of the hung server ran into its deadline, the live one was polled many times.
    assert len(live_seen) >= 5
    assert all(snapshot.state == "live" for snapshot in live_seen)
    (silent,) = [snapshot for snapshot in seen if snapshot.server == names["hung"]]
    assert silent.state == "silent"
    assert silent.error is not None
    assert "no answer within 0.5 s" in silent.error
    refused = [snapshot for snapshot in seen if snapshot.server == "127.0.0.1:1"]
    assert refused[0].error == "connection refused by 127.0.0.1:1"


async def test_a_server_that_answers_drop_by_drop_is_given_up_at_the_deadline() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in http(wire.encode(said())):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(dripping) as port:
        poller = Poller(WhisperOpsSource(f"http://127.0.0.1:{port}"), deadline=0.3)
        snapshot = await poller.once()
        await poller.close()
    assert "gave no answer within 0.3 s" in str(snapshot.error)


async def test_a_silent_server_keeps_its_last_good_value_and_its_age_grows() -> None:
    poller = Poller(Scripted(lambda n: 0.0 if n == 1 else SourceError("gone")))
    assert poller.age() is None
    good = await poller.once()
    first = poller.age()
    bad = await poller.once()
    assert (bad.state, bad.error, bad.figures) == ("silent", "gone", None)
    assert poller.last is bad
    assert poller.last_good is good
    assert first is not None
    second = poller.age()
    assert second is not None
    assert second >= first
    assert (poller.polls_total, poller.failures_total, poller.failures_in_row) == (2, 1, 1)
    await poller.once()
    assert poller.failures_in_row == 2


async def test_pauses_grow_with_failures_and_end_with_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 9:
            raise asyncio.CancelledError

    clock = SimpleNamespace(monotonic=lambda: sum(pauses), time=lambda: 1e9 + sum(pauses))
    monkeypatch.setattr("dashboard.polling.poller.asyncio.sleep", sleep)
    monkeypatch.setattr("dashboard.polling.poller.time", clock)
    source = Scripted(lambda n: SourceError("gone") if n <= 6 else None)
    with pytest.raises(asyncio.CancelledError):
        await Poller(source, interval=0.5).run(lambda _: None)
    for pause, step in zip(pauses[1:7], (*BACKOFF_SECONDS, 10.0, 10.0), strict=True):
        assert step * 0.8 <= pause <= step * 1.2
    assert pauses[7:9] == pytest.approx([0.5, 0.5])


async def test_a_fault_in_a_source_is_its_own_silence_and_nothing_else() -> None:
    broken = Scripted(lambda _: ZeroDivisionError("division by zero"), "broken")
    fine = Scripted(lambda _: 0.0, "fine")
    fleet = Pollers([broken, fine], interval=0.01)
    seen = await run_until(fleet, lambda s: len([x for x in s if x.server == "fine"]) > 3)
    (first, *_) = [snapshot for snapshot in seen if snapshot.server == "broken"]
    assert first.error == "reading broken failed unexpectedly: ZeroDivisionError: division by zero"
    assert broken.closed
    assert fine.closed


async def test_a_restarted_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.polling.poller.BACKOFF_SECONDS", (0.02, 0.04))
    answer = answering(lambda: http(wire.encode(said())))
    async with listening(answer) as port:
        poller = Poller(WhisperOpsSource(f"http://127.0.0.1:{port}"), interval=0.02)
        seen: list[Snapshot] = []
        task = asyncio.create_task(poller.run(seen.append))
        await until(lambda: seen)
    await until(lambda: seen[-1].state == "silent")
    async with listening(answer, port=port):
        await until(lambda: seen[-1].state == "live")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert poller.failures_in_row == 0


async def test_each_server_is_read_once_at_the_same_time_in_the_order_given() -> None:
    sources = [Scripted(lambda _: 0.05, "b"), Scripted(lambda _: SourceError("no"), "a")]
    assert [snapshot.server for snapshot in await Pollers(sources).once()] == ["b", "a"]
