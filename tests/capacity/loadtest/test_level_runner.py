"""Levels on a server that are held until their answer is known: one row each, over streams that stay."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import Corpus, load
from capacity.loadtest.level import LoadShape
from capacity.loadtest.level_request import LevelAnswer, LevelRequest
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.stopping import FEWEST_BLOCKS
from capacity.loadtest.target import parse_target
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from whisper_ops.history import History, LevelRecord, StreamRecord
from whisper_ops.objective import parse

OBJECTIVE = parse("stable_p95<=2s, errors<=0.1%")


class Holding:
    """A plan of one level that is held."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bool | None, bool]] = []

    def next(self) -> LevelRequest | None:
        return None if self.answers else LevelRequest(2, "hold", "adaptive")

    def add(self, answer: LevelAnswer) -> None:
        self.answers.append((answer.streams, answer.passed, answer.adaptive))

    def fit(self, slots: int) -> str | None:
        return None

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        ask = self.next()
        return () if ask is None else (ask,)

    @property
    def most_streams(self) -> int:
        return 2

    @property
    def levels_left(self) -> int | None:
        return None

    @property
    def conclusion(self) -> str | None:
        return None


class Ran(msgspec.Struct, kw_only=True):
    outcome: SweepOutcome
    stored: list[LevelRecord]
    streams: list[StreamRecord]
    answers: list[tuple[int, bool | None, bool]]
    accepted: int


async def held(
    corpus: Corpus, faults: Faults, history: Path, generator: str = "capacity.loadgen.worker", seconds: float = 2.0
) -> Ran:
    plan, options = Holding(), SweepOptions(fresh=True, generator=generator)
    shape = LoadShape(seconds=seconds, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
    async with running_double(faults) as double:
        with History.writing(history) as store:
            run = Sweep(store, parse_target(double.url), corpus, shape, OBJECTIVE, Quiet(), options)
            outcome = await run.run(plan)
            if outcome.state == "done":
                await asyncio.wait_for(double.empty.wait(), 5)  # nobody is left behind
            stored = store.sweeps.levels(outcome.sweep_id)
            streams = [stream for level in stored for stream in store.sweeps.streams(outcome.sweep_id, 2, level.repeat)]
    return Ran(outcome=outcome, stored=stored, streams=streams, answers=plan.answers, accepted=double.accepted)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("held"))
    corpus = load(coded_corpus(folder / "coded"))

    async def all_of_them() -> dict[str, Ran]:
        done = await asyncio.gather(
            held(corpus, Faults(), folder / "good.db"),
            held(corpus, Faults(delay_seconds=3.5), folder / "slow.db"),
            held(corpus, Faults(die_after_seconds=5.0), folder / "dies.db"),
            held(corpus, Faults(), folder / "late.db", "tests.capacity.slow_generator", 1.0),
        )
        return dict(zip(("good", "slow", "dies", "late"), done, strict=True))

    return asyncio.run(all_of_them())


def test_a_held_level_is_one_row_over_streams_that_stay(ran: dict[str, Ran]) -> None:
    good = ran["good"]
    assert good.accepted == 2
    (level,) = good.stored
    assert level.duration_seconds == pytest.approx(2.0 * FEWEST_BLOCKS)
    assert (level.passed, level.wer_ratio, level.failed, level.connected) == (True, 0, 0, 2)
    assert level.achieved_concurrency == pytest.approx(2, abs=0.1)
    assert [stream.number for stream in good.streams] == [0, 1]
    assert level.words == sum(stream.words for stream in good.streams) >= 20
    assert good.answers == [(2, True, True)]


def test_a_level_whose_text_does_not_come_is_let_go_with_the_fewest_blocks(ran: dict[str, Ran]) -> None:
    (level,) = ran["slow"].stored
    assert (level.audit, level.passed) == ("invalid", False)
    assert "of the words never came" in level.reason
    assert level.duration_seconds == pytest.approx(2.0 * FEWEST_BLOCKS)


def test_a_server_that_dies_under_a_held_level_ends_the_sweep_with_what_it_has(ran: dict[str, Ran]) -> None:
    dies = ran["dies"]
    assert dies.outcome.state == "failed"
    assert dies.outcome.unreachable
    assert [level.passed for level in dies.stored] == [False]


def test_a_generator_that_is_late_ends_a_held_level_at_once(ran: dict[str, Ran]) -> None:
    first = ran["late"].stored[0]
    assert first.audit == "invalid"
    assert "late" in first.reason
    assert first.duration_seconds < 2.0
