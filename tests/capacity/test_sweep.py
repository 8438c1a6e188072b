"""A sweep against the scripted double: what is measured, audited, stored and said."""

import asyncio
from pathlib import Path

import pytest

from capacity.load.orders import Progress
from capacity.speech.corpus import Corpus, load
from capacity.sweep.level import LoadShape
from capacity.sweep.objective import DEFAULT, parse
from capacity.sweep.plans import Ask, LevelList
from capacity.sweep.run import Outcome, Sweep
from capacity.sweep.target import parse_target
from tests.capacity.double import Faults, coded_corpus, running_double
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord
from whisper_ops.snapshot import Snapshot

SHAPE = LoadShape(seconds=4, setup_seconds=3, drain_seconds=2)


class Quiet:
    """A watcher that only counts."""

    def __init__(self) -> None:
        self.levels: list[LevelRecord] = []
        self.beats = 0
        self.asked: list[Ask] = []
        self.notes: list[str] = []
        self.first_level = asyncio.Event()

    def begin(self, ask: Ask, number: int, left: int | None, seconds: float) -> None:
        self.asked.append(ask)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def progress(self, progress: Progress, snapshot: Snapshot | None) -> None:
        self.beats += 1

    def end(self, level: LevelRecord) -> None:
        self.levels.append(level)
        self.first_level.set()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load(coded_corpus(Path(tmp_path_factory.mktemp("speech")) / "coded"))


async def sweep(url: str, corpus: Corpus, history: Path, *levels: int, objective: str = DEFAULT) -> Outcome:
    with History.writing(history) as store:
        return await Sweep(store, parse_target(url), corpus, SHAPE, parse(objective), Quiet()).run(LevelList(levels))


async def test_an_honest_server_is_measured_as_it_is(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(delay_seconds=0.3, gpus=2)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 1, 4)
    assert outcome.state == "done"
    four = outcome.levels[1]
    assert four.audit == "provisional"
    assert four.passed
    assert "short of 60 s" in four.reason
    assert four.achieved_concurrency == pytest.approx(4, abs=0.1)
    # Said at the end of its chunk, shown 0.3 s after the chunk came that ended it: at most a chunk later.
    assert four.stable_p50_seconds is not None
    assert 0.29 <= four.stable_p50_seconds <= 0.6
    assert four.wer_ratio == 0
    assert four.missing_words == 0
    assert four.gpu_spread == 0
    assert four.streams_per_gpu == 2
    with History.reading(tmp_path / "h.db") as history:
        (stored,) = history.sweeps()
        assert stored.sweep.state == "done"
        assert stored.sweep.engine == "double"
        assert stored.sweep.simulated
        assert stored.sweep.corpus == corpus.name
        assert history.levels(stored.id) == list(outcome.levels)


async def test_one_stream_is_measured_first_when_the_objective_counts_from_it(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double() as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 2)
    assert [level.streams for level in outcome.levels] == [1, 2]


async def test_dropped_text_fails_with_its_share(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(drop_every=3)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 1, objective="stable_p95<=2s")
    (level,) = outcome.levels
    assert (level.audit, level.passed) == ("invalid", False)
    assert "of the words never came" in level.reason


async def test_no_partials_is_said(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(partials=False)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 1)
    (level,) = outcome.levels
    assert level.audit == "invalid"
    assert "no partial results" in level.reason


async def test_streams_that_end_early_are_not_live(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(leave_after_seconds=1.0)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 3, objective="errors<=100%")
    (level,) = outcome.levels
    assert (level.audit, level.passed) == ("invalid", False)
    assert "of 3 streams were live at once" in level.reason


async def test_refusals_are_counted_and_the_answer_is_no(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(slots=2)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 4, objective="connected>=99.9%")
    (level,) = outcome.levels
    assert (level.connected, level.refused, level.failed) == (2, 2, 0)
    assert (level.audit, level.passed) == ("invalid", False)
    assert "No GPU resources available" in level.reason


async def test_nothing_there_is_exit_3_and_no_row(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot reach") as caught:
        await sweep("http://127.0.0.1:9", corpus, tmp_path / "h.db", 1)
    assert caught.value.code == Exit.UNREACHABLE
    with History.reading(tmp_path / "h.db") as history:
        assert not history.sweeps()


async def test_a_server_that_dies_ends_the_sweep_with_what_it_has(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(die_after_seconds=2.0)) as double:
        outcome = await sweep(double.url, corpus, tmp_path / "h.db", 1, 2, 4)
    assert outcome.state == "failed"
    assert outcome.gone
    with History.reading(tmp_path / "h.db") as history:
        (stored,) = history.sweeps()
        assert stored.sweep.state == "failed"
        assert "cannot reach" in (stored.sweep.reason or "")
        assert [level.passed for level in history.levels(stored.id)] == [False]


async def test_a_cancelled_sweep_keeps_its_levels(corpus: Corpus, tmp_path: Path) -> None:
    watcher = Quiet()
    with History.writing(tmp_path / "h.db") as store:
        async with running_double() as double:
            run = Sweep(store, parse_target(double.url), corpus, SHAPE, parse("stable_p95<=2s"), watcher)
            task = asyncio.create_task(run.run(LevelList([1, 50])))
            async with asyncio.timeout(30):
                await watcher.first_level.wait()
            task.cancel()
            outcome = await task
        assert outcome.state == "interrupted"
        assert [level.streams for level in store.levels(outcome.sweep_id)] == [1]
