"""Clients that join, leave, stall, drop, return and say nothing, workers that die and hang, in any order.

Virtual time: one example is several minutes of a server's life. Afterwards nothing may be left: no slot, no session, no
task. Every client's finals must have come in order, none twice.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.sessions.worker_supervisor import WorkerTimeouts
from tests.server.virtual import Client, VirtualLoop, World

PATIENCE = WorkerTimeouts(heartbeat=4.0, decode=8.0, max_deaths=1000)
"""A crash loop would soon leave no GPU to test; test_faults.py has it."""
SECONDS = st.floats(0.1, 8.0)
WHO = st.integers(0, 99)


class Chaos(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.clients: list[Client] = []
        self.gone: list[Client] = []
        self.world = self._do(self._begin())
        self.tasks = self._do(self._count_tasks())

    async def _begin(self) -> World:
        return await World(2, patience=PATIENCE, max_connections_per_gpu=3, idle_seconds=20.0).ready()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _count_tasks(self) -> int:
        return len(asyncio.all_tasks())

    def _pick(self, who: int) -> Client:
        return self.clients[who % len(self.clients)]

    # --- clients ------------------------------------------------------------------------------------

    @rule(words=st.booleans(), count=st.integers(1, 3))
    def join(self, words: bool, count: int) -> None:
        async def work() -> None:
            self.clients += [self.world.client(words=str(words).lower()) for _ in range(count)]
            await asyncio.sleep(0.05)

        self._do(work())

    @precondition(lambda self: self.clients)
    @rule(who=WHO, seconds=SECONDS, level=st.sampled_from([0.0, 0.3]), chunk=st.sampled_from([0.02, 0.1, 1.0]))
    def speak(self, who: int, seconds: float, level: float, chunk: float) -> None:
        self._do(self._pick(who).speak(seconds, level=level, chunk=chunk))

    @precondition(lambda self: self.clients)
    @rule(seconds=SECONDS)
    def everybody_speaks(self, seconds: float) -> None:
        async def work() -> None:
            await asyncio.gather(*(client.speak(seconds) for client in self.clients))

        self._do(work())

    @precondition(lambda self: self.clients)
    @rule(who=WHO, seconds=SECONDS)
    def speak_slowly(self, who: int, seconds: float) -> None:
        """Half of the sound that real time would have."""

        async def work() -> None:
            for _ in range(round(seconds * 5)):
                await self._pick(who).speak(0.1)
                await asyncio.sleep(0.1)

        self._do(work())

    @precondition(lambda self: self.clients)
    @rule(who=WHO, stalled=st.booleans())
    def stop_or_start_reading(self, who: int, stalled: bool) -> None:
        self._pick(who).stalled = stalled

    @rule(seconds=st.floats(0.1, 25.0))
    def nobody_says_anything(self, seconds: float) -> None:
        self._do(asyncio.sleep(seconds))

    @precondition(lambda self: self.clients)
    @rule(who=WHO, text=st.sampled_from(['{"type":"flush"}', '{"type":"end"}', "nonsense"]))
    def say(self, who: int, text: str) -> None:
        async def work() -> None:
            self._pick(who).say(text)
            await asyncio.sleep(0.05)

        self._do(work())

    @precondition(lambda self: self.clients)
    @rule(who=WHO)
    def leave(self, who: int) -> None:
        self._do(self._go(self._pick(who), cleanly=True))

    @precondition(lambda self: self.clients)
    @rule(who=WHO)
    def drop(self, who: int) -> None:
        self._do(self._go(self._pick(who), cleanly=False))

    async def _go(self, client: Client, *, cleanly: bool) -> None:
        client.leave() if cleanly else client.drop()
        await asyncio.sleep(0.05)
        self.clients.remove(client)
        self.gone.append(client)

    @precondition(lambda self: self.gone)
    @rule(who=WHO)
    def come_back(self, who: int) -> None:
        async def work() -> None:
            before = self.gone[who % len(self.gone)]
            if not before.resume_token:
                return
            finals = before.of("final")
            offset = round(finals[-1]["end"] * 16000) if finals else 0
            self.clients.append(self.world.client(resume=before.resume_token, offset=offset))
            await asyncio.sleep(0.05)

        self._do(work())

    # --- the server ---------------------------------------------------------------------------------

    @rule(gpu=st.integers(0, 1), hang=st.booleans())
    def a_worker_dies_or_hangs(self, gpu: int, hang: bool) -> None:
        running = [process for process in self.world.processes if process.returncode is None]
        if running and hang:
            running[gpu % len(running)].engine.hanging = True
        elif running:
            self._do(_kill(running[gpu % len(running)]))

    @rule(limit=st.integers(2, 4), draining=st.sampled_from([True] + [False] * 9))
    def an_operator(self, limit: int, draining: bool) -> None:
        async def work() -> None:
            self.world.hub.slots.set_limit(limit)
            if draining:
                self.world.hub.drain.start()
                await asyncio.sleep(1)
                self.world.hub.drain.cancel()

        self._do(work())

    # --- what must hold -----------------------------------------------------------------------------

    @invariant()
    def what_is_due_is_known(self) -> None:
        """A worker asks a stream what it wants decoded when it changes, and not at each look."""
        for process in self.world.processes:
            worker = process.worker
            unheard = worker._listener._waiting
            wanted = {number: stream.job() for number, stream in worker._streams.items() if number not in unheard}
            known = {number: worker._jobs.get(number) for number in wanted}
            assert known == wanted
            assert set(worker._jobs) <= set(worker._streams)

    @invariant()
    def every_session_has_its_slot(self) -> None:
        hub = self.world.hub
        active = {owner for gpu in hub.slots.gpus for owner in gpu.active}
        assert {session.connection_id for session in hub.sessions.values()} == active

    @invariant()
    def finals_come_in_order_and_once(self) -> None:
        for client in [*self.clients, *self.gone]:
            segments = [final["segment"] for final in client.of("final")]
            assert segments == sorted(set(segments))

    def teardown(self) -> None:
        self._do(self._leave())
        hub = self.world.hub
        assert hub.slots.used == 0
        assert hub.sessions == {}
        # A worker may have been lost or found meanwhile; each running one has its report.
        running = sum(process.returncode is None for process in self.world.processes)
        assert self._do(self._count_tasks()) <= self.tasks - 2 + running
        self._do(self.world.close())
        self.runner.close()
        gc.collect()

    async def _leave(self) -> None:
        for client in self.clients:
            client.leave()
        await asyncio.sleep(60)
        assert all(client.over for client in [*self.clients, *self.gone])


async def _kill(process: Any) -> None:
    process.kill()
    await asyncio.sleep(0.05)


Chaos.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestChaos = Chaos.TestCase
