"""Act 1: a fleet of simulated GPUs is loaded beyond its knee, is planned, and loses a server while people speak."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from capacity.corpus.clips import Corpus, load
from capacity.corpus.tone_corpus import make_tones
from capacity.demo.narration import DemoNarration
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelList, Soak, Strategy
from capacity.loadtest.target import parse_target
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from whisper_ops.history import History
from whisper_ops.objective import parse
from whisper_ops.plan.plan_document import Plan as Planned
from whisper_ops.plan.plan_records import record_of

SERVERS, GPUS = 4, 2
SERVE = (
    *("--engine", "simulated", "--devices", f"sim:{GPUS}", "--sim-law", "a=0.02,b=0.168", "--max-batch", "8"),
    *("--max-connections-per-gpu", "16", "--drain-timeout", "0"),
)
"""A stable word takes two rounds of all callers of a GPU, mostly: five are within 2 s, and eight are not."""
LEVELS = (16, 40, 64)
_OBJECTIVE = parse("stable_p95<=2s, errors<=0.1%")
_SHAPE = LoadShape(
    seconds=5.0, setup_seconds=10.0, drain_seconds=4.0, warm_up_seconds=0.0, cool_seconds=0.0, most_other_load=1.0
)
_BLOCK_SECONDS, _BLOCKS = 4.0, 3
_LOST_AFTER_SECONDS = 4.0


class DemoFleet:
    """Servers that run already, and what is done with them."""

    def __init__(self, broker: str, folder: Path, history: Path, telling: DemoNarration) -> None:
        """`broker` is the fleet's one address; `history` is where the dashboard looks for a plan."""
        self._target = parse_target(broker, two_step=True)
        self._folder = folder
        self._history = history
        self._telling = telling
        self._corpus: Corpus | None = None

    async def measure(self) -> SweepOutcome:
        """Load it beyond its knee."""
        return await self._sweep(LevelList(LEVELS), self._history, _SHAPE)

    def plan(self) -> Planned:
        """Plan from what was measured, and keep the plan where the dashboard finds it.

        Raises:
            UserError: too little was measured for a plan.
        """
        with History.writing(self._history) as history:
            plan = make_plan(history, EvidenceRequest(), time.time())
            history.plans.add(record_of(plan))
        return plan

    async def lose(self, callers: int, name: str, kill: Callable[[], None]) -> SweepOutcome:
        """Let callers speak, and call `kill` in the midst of it: who is cut off comes back on another server.

        `name` is what the killed one is called.
        """
        shape = msgspec.structs.replace(_SHAPE, seconds=_BLOCK_SECONDS)
        soak = Soak(callers, _BLOCK_SECONDS * _BLOCKS)
        self._telling.title = lost_title(callers, name)
        # What is measured while a server dies is no evidence for any plan.
        speaking = asyncio.create_task(self._sweep(soak, self._folder / "lost.db", shape))
        await asyncio.wait({speaking}, timeout=_LOST_AFTER_SECONDS)
        kill()
        left = _BLOCK_SECONDS * (_BLOCKS - 1)
        killed = killed_title(name)
        self._telling.now(killed, left)
        self._telling.say(f"  {killed}")
        return await speaking

    async def _sweep(self, plan: Strategy, history: Path, shape: LoadShape) -> SweepOutcome:
        if self._corpus is None:
            self._corpus = load(await asyncio.to_thread(make_tones, self._folder / "tones"))
        with History.writing(history) as store:
            options = SweepOptions(processes=1, fresh=True)
            sweep = Sweep(store, self._target, self._corpus, shape, _OBJECTIVE, self._telling, options)
            return await sweep.run(plan)


def called(urls: Sequence[str]) -> list[str]:
    """The servers as the dashboard is to name them."""
    return [f"sim-{number}={url}" for number, url in enumerate(urls, 1)]


def lost_title(callers: int, name: str) -> str:
    """What goes on until a server is killed."""
    return f"{callers} callers, the planned limit; {name} will be lost"


def killed_title(name: str) -> str:
    """What goes on from then."""
    return f"{name} was killed: its callers move to the others"
