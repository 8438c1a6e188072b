"""Minutes of chaos without a rest, drawn at random: what the server holds afterwards is what it held before.

Two minutes of virtual time in `make test`, ten minutes in `make test-chaos`, which sets WHISPER_OPS_CHAOS_SECONDS.
The rules and what must hold after each are those of test_chaos.py; here one life goes on, and its memory is watched.
"""

import asyncio
import gc
import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.server.scenarios.test_chaos import Chaos

SECONDS = float(os.environ.get("WHISPER_OPS_CHAOS_SECONDS", "120"))
BACK = 0.05
"""Share of the peak, above what is held at rest, that may stay."""
ONCE, EACH = 64 << 10, 512
"""Bytes that may stay: tables of the event loop that grew, and a client's share. A session left over holds more."""

Draw = Callable[[random.Random], dict[str, Any]]
STEPS: tuple[tuple[int, str, Draw], ...] = (
    (24, "join", lambda r: {"words": r.random() < 0.5, "count": r.randint(1, 3)}),
    (12, "everybody_speaks", lambda r: {"seconds": r.uniform(0.1, 4)}),
    (2, "nobody_says_anything", lambda r: {"seconds": r.uniform(0.1, 25)}),
    (4, "a_worker_dies_or_hangs", lambda r: {"gpu": r.randrange(2), "hang": r.random() < 0.5}),
    (4, "an_operator", lambda r: {"limit": r.randint(2, 4), "draining": r.random() < 0.1}),
)
"""How often what happens, with which arguments."""
STEPS_OF_ONE: tuple[tuple[int, str, Draw], ...] = (
    (12, "speak", lambda r: {"seconds": r.uniform(0.1, 4), "level": r.choice([0, 0.3]), "chunk": r.choice([0.02, 1])}),
    (6, "speak_slowly", lambda r: {"seconds": r.uniform(0.1, 4)}),
    (8, "stop_or_start_reading", lambda r: {"stalled": r.random() < 0.5}),
    (12, "say", lambda r: {"text": r.choice(['{"type":"flush"}', '{"type":"end"}', "nonsense"])}),
    (10, "leave", lambda _: {}),
    (10, "drop", lambda _: {}),
)
"""What happens to one client; with none there, somebody joins instead."""


class Life:
    """A server's life under rules drawn at random, always the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chaos = Chaos()
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.joined = 0

    def live(self, seconds: float) -> None:
        """Let things happen for so long, in virtual time."""
        loop = self.chaos.world.loop
        until = loop.time() + seconds
        while loop.time() < until:
            self._step()
            self.chaos.every_session_has_its_slot()
            self.chaos.finals_come_in_order_and_once()

    def _step(self) -> None:
        chaos, draw = self.chaos, self.random
        steps = [*STEPS, *(STEPS_OF_ONE if chaos.clients else ())]
        if chaos.gone:
            steps.append((10, "come_back", lambda r: {"who": r.randrange(100)}))
        _, name, arguments = draw.choices(steps, [weight for weight, _, _ in steps])[0]
        given = arguments(draw)
        if name in {step[1] for step in STEPS_OF_ONE}:
            given["who"] = draw.randrange(100)
        self.joined += given.get("count", 0)
        self.done[name] += 1
        getattr(chaos, name)(**given)

    def rest(self) -> int:
        """Everybody leaves; the bytes that are still held."""
        chaos = self.chaos
        chaos._do(chaos._leave())
        chaos.clients.clear()
        chaos.gone.clear()
        world = chaos.world
        world.processes[:] = [process for process in world.processes if process.returncode is None]
        hub = world.hub
        assert hub.slots.used == 0
        assert hub.sessions == {}
        assert chaos._do(chaos._count_tasks()) <= chaos.tasks - 2 + len(world.processes)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]


@contextmanager
def _traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def test_memory_comes_back_however_long_it_goes_on() -> None:
    with _traced():
        life = Life(seed=11)
        life.live(SECONDS / 3)
        before, joined = life.rest(), life.joined
        tracemalloc.reset_peak()
        life.live(SECONDS * 2 / 3)
        peak = tracemalloc.get_traced_memory()[1]
        after = life.rest()
    faults, clients = life.done["a_worker_dies_or_hangs"], life.joined - joined
    said = f"{life.joined} clients, {faults} faults: {before:,} bytes at rest, peak {peak:,}, {after:,} again"
    print(said)  # noqa: T201  # `make test-chaos` shows it
    assert life.joined > SECONDS / 6, "nobody came: this tests nothing"
    assert after - before <= BACK * (peak - before), said
    assert after - before <= ONCE + EACH * clients, said
    life.chaos._do(life.chaos.world.close())
    life.chaos.runner.close()
    asyncio.set_event_loop(None)
