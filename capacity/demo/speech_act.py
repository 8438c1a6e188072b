"""Act 2: real speech on this machine, at levels that are chosen by what the first one shows."""

import time
from pathlib import Path

from capacity.corpus.clips import load
from capacity.demo.narration import DemoNarration
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelList, Strategy
from capacity.loadtest.target import parse_target
from capacity.loadtest.timed_search import NARROW, TimedSearch
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from whisper_ops.history import History
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.objective.findings import OtherLoad
from whisper_ops.objective.judgement import findings_of
from whisper_ops.plan.plan_document import Plan as Planned
from whisper_ops.plan.plan_records import record_of


async def measure(
    url: str,
    corpus: Path,
    history: Path,
    telling: DemoNarration,
    *,
    within: float,
    levels: tuple[int, ...],
    seconds: float,
) -> SweepOutcome:
    """Measure the server, in the given time, or at the given levels where there are any.

    Other load is said and counts: a busy machine shows the product all the same.
    """
    plan: Strategy = LevelList(levels) if levels else TimedSearch(within, seconds)
    shape = LoadShape(
        seconds=seconds, setup_seconds=10.0, drain_seconds=5.0, warm_up_seconds=8.0, cool_seconds=5.0,
        most_other_load=1.0,
    )  # fmt: skip
    with History.writing(history) as store:
        options = SweepOptions(processes=1, fresh=True, plan_line="demo")
        sweep = Sweep(store, parse_target(url), load(corpus), shape, parse(DEFAULT), telling, options)
        return await sweep.run(plan)


def plan(history: Path, server: str) -> Planned:
    """The plan of that server, kept in the history.

    Raises:
        UserError: too little was measured for a plan.
    """
    with History.writing(history) as store:
        made = make_plan(store, EvidenceRequest(server=server), time.time())
        store.plans.add(record_of(made))
    return made


def other_load(outcome: SweepOutcome) -> float:
    """The largest share of the machine that other programs took at a level; 0 where none took much."""
    found = (finding for level in outcome.levels for finding in findings_of(level))
    return max((finding.share for finding in found if isinstance(finding, OtherLoad)), default=0.0)


def too_wide(made: Planned) -> bool:
    """Whether the ends of the bracket are further apart than an answer allows, or one is missing."""
    last, fail = made.capacity.last_pass, made.capacity.first_fail
    return last is None or fail is None or fail > NARROW * last
