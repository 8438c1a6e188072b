"""A level above the server's slots is not run: it would measure refusals. The usual levels are clipped."""

import asyncio
from pathlib import Path

import pytest

from capacity.corpus.clips import Corpus, load
from capacity.loadtest.admission import slots_of
from capacity.loadtest.level import LoadShape
from capacity.loadtest.level_config import expected_seconds
from capacity.loadtest.level_request import LevelAnswer
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.search import SearchLimits
from capacity.loadtest.strategies import BASELINE, BaselineFirst, LevelList, SearchStrategy, Soak, Strategy
from capacity.loadtest.target import Target, open_source, parse_target, poll_once
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.objective import parse
from whisper_ops.snapshot import Snapshot

SHAPE = LoadShape(seconds=1.0, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
USUAL = (5, 10, 20, 30)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load(coded_corpus(Path(tmp_path_factory.mktemp("speech")) / "coded"))


def asked(plan: Strategy, limit: float = 1e9) -> list[int]:
    found = []
    while (one := plan.next()) is not None:
        found.append(one.streams)
        plan.add(LevelAnswer(one.streams, one.streams <= limit, one.kind == "adaptive"))
    return found


@pytest.mark.parametrize(
    ("slots", "levels"), [(16, [5, 10, 16]), (10, [5, 10]), (3, [3]), (30, [5, 10, 20, 30]), (100, [5, 10, 20, 30])]
)
def test_usual_levels_are_those_that_fit_and_the_full_server(slots: int, levels: list[int]) -> None:
    plan = LevelList(USUAL, usual=True)
    said = plan.fit(slots)
    assert (said is None) == (slots >= 30)
    assert said is None or f"{slots} slots" in said
    assert asked(plan) == levels


@pytest.mark.parametrize(
    "plan", [LevelList([4, 20, 30]), Soak(20, 60.0), BaselineFirst(LevelList([20]), lambda: False)]
)
def test_levels_named_above_the_slots_are_refused_in_a_sentence_with_the_way_out(plan: Strategy) -> None:
    with pytest.raises(UserError, match=r"20.*16 slots.*ask for 16 at most.*max-connections-per-gpu") as caught:
        plan.fit(16)
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize("slots", [1, 2, 9, 100])
def test_a_search_stays_within_the_slots_and_says_that_they_end_it(slots: int) -> None:
    plan = SearchStrategy(SearchLimits())
    plan.fit(slots)
    assert max(asked(plan)) == slots
    assert f"{slots} stream" in (plan.conclusion or "")
    assert "every slot of the server" in (plan.conclusion or "")


@pytest.mark.parametrize("limit", [0, 1, 3, 40, 41, 700])
def test_what_a_search_expects_ends_and_is_near_what_it_does(limit: int) -> None:
    plan = SearchStrategy(SearchLimits())
    expected = [len(plan.expected)]
    while (one := plan.next()) is not None:
        assert plan.expected[0] == one
        plan.add(LevelAnswer(one.streams, one.streams <= limit, one.kind == "adaptive"))
        expected.append(len(plan.expected))
    assert expected[-1] == 0
    assert all(later >= 0 for later in expected)


def test_the_baseline_is_short_unless_it_was_asked_for() -> None:
    shape = LoadShape(seconds=60.0)
    plan = BaselineFirst(LevelList([4, 8]), lambda: False)
    first = plan.next()
    assert first is not None
    assert (first.purpose, first.seconds) == (BASELINE, 30.0)
    assert [one.streams for one in plan.expected] == [1, 4, 8]
    alone = expected_seconds(BaselineFirst(LevelList([4, 8]), lambda: True).expected, shape)
    assert 25 < expected_seconds(plan.expected, shape) - alone < 45
    # Asked for by name it is a level like any other, and not measured twice.
    named = BaselineFirst(LevelList([8, 1]), lambda: False)
    first = named.next()
    assert first is not None
    assert (first.purpose, first.seconds) == (BASELINE, None)
    assert [one.streams for one in named.expected] == [1, 8]


async def run(url: str, corpus: Corpus, folder: Path, plan: Strategy, watcher: Quiet) -> SweepOutcome:
    with History.writing(folder / "h.db") as store:
        sweep = Sweep(
            store, parse_target(url), corpus, SHAPE, parse("connected>=99%"), watcher, SweepOptions(processes=1)
        )  # fmt: skip
        async with asyncio.timeout(45):
            return await sweep.run(plan)


async def test_a_sweep_clips_the_usual_levels_and_says_so_before_it_starts(corpus: Corpus, tmp_path: Path) -> None:
    watcher = Quiet()
    async with running_double(Faults(slots=2)) as double:
        outcome = await run(double.url, corpus, tmp_path, LevelList(USUAL, usual=True), watcher)
        assert double.most_active == 2
        with pytest.raises(UserError, match="has 2 slots"):
            await run(double.url, corpus, tmp_path, LevelList([1, 3]), Quiet())
    assert [level.streams for level in outcome.levels] == [2]
    assert outcome.levels[0].refused == 0
    assert "it has 2 slots, so the levels are 2" in watcher.notes[0]
    assert watcher.expected
    with History.reading(tmp_path / "h.db") as store:
        assert len(store.sweeps.every()) == 1, "what was refused left no row"


async def first_poll(target: Target) -> Snapshot:
    async with open_source(target) as source:
        return await poll_once(source)


async def test_a_balancer_s_slots_are_not_those_of_the_server_that_answered_first() -> None:
    async with running_double(Faults(slots=2)) as double:
        target = parse_target(double.url)
        first = await first_poll(target)
        assert await slots_of(target, first, 5) == 2
        double.server_id = "another"
        assert await slots_of(target, first, 5) is None
        assert await slots_of(target, first, 2) == 2, "with room for all nobody is asked again"


async def test_a_level_whose_streams_are_refused_names_what_they_were_told(corpus: Corpus, tmp_path: Path) -> None:
    patient = LoadShape(seconds=20.0, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
    async with running_double(Faults(slots=1, says_slots=8)) as double:
        with History.writing(tmp_path / "h.db") as store:
            sweep = Sweep(
                store,
                parse_target(double.url),
                corpus,
                patient,
                parse("connected>=99%"),
                Quiet(),
                SweepOptions(processes=1),
            )
            outcome = await sweep.run(LevelList([8]))
    (level,) = outcome.levels
    assert level.passed is False
    assert "stopped early" in level.reason
    assert "No GPU resources available" in level.reason
