"""A sweep against scripted doubles, honest and dishonest: what is measured, audited, stored and said.

Streams run in real time, so the doubles are all measured at once, when the first test asks, and each test looks at its
own.
"""

import asyncio
import os
import sqlite3
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import Corpus, load
from capacity.loadgen.messages import LoadProgress
from capacity.loadtest import audit, level_runner
from capacity.loadtest.level import LoadShape
from capacity.loadtest.level_request import LevelRequest
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelList
from capacity.loadtest.target import parse_target
from capacity.reports.html import html
from capacity.reports.sweep_report import report
from tests.capacity.double import Faults, coded_corpus, running_double
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.history.sweeps import Sweeps
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.snapshot import Snapshot

SHAPE = LoadShape(seconds=4, setup_seconds=4, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)


class Quiet:
    """A watcher that only remembers."""

    def __init__(self) -> None:
        self.levels: list[LevelRecord] = []
        self.asked: list[LevelRequest] = []
        self.notes: list[str] = []
        self.expected: list[float] = []
        self.pauses: list[str] = []
        self.first_level = asyncio.Event()

    def expect(self, seconds: float) -> None:
        self.expected.append(seconds)

    def begin(self, ask: LevelRequest, number: int, left: int | None, seconds: float) -> None:
        self.asked.append(ask)

    def pause(self, what: str, at_most_seconds: float) -> None:
        self.pauses.append(what)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def progress(self, progress: LoadProgress, snapshot: Snapshot | None) -> None:
        pass

    def end(self, level: LevelRecord) -> None:
        self.levels.append(level)
        self.first_level.set()


class Case(msgspec.Struct, kw_only=True):
    faults: Faults
    levels: tuple[int, ...] = (1,)
    objective: str = "stable_p95<=2s, connected>=99.9%, errors<=0.1%"
    options: SweepOptions = SweepOptions(processes=1)
    shape: LoadShape = SHAPE
    two_step: bool = False


class Ran(msgspec.Struct, kw_only=True):
    outcome: SweepOutcome
    sweep: SweepRecord
    stored: list[LevelRecord]
    watcher: Quiet
    handed_out: int

    @property
    def last(self) -> LevelRecord:
        return self.outcome.levels[-1]


CASES = {
    "honest": Case(faults=Faults(delay_seconds=0.3, gpus=2), levels=(4,), objective=DEFAULT),
    "drops text": Case(faults=Faults(drop_every=3)),
    "no partials": Case(faults=Faults(partials=False), levels=(2,)),
    "few live": Case(faults=Faults(leave_after_seconds=1.5), levels=(3,), objective="errors<=100%"),
    "refuses some": Case(faults=Faults(slots=2, says_slots=4), levels=(4,)),
    "refuses all": Case(faults=Faults(slots=0, says_slots=4), levels=(2,)),
    "nonsense": Case(faults=Faults(nonsense=True), levels=(2,)),
    "never ready": Case(
        faults=Faults(never_ready=True),
        levels=(2,),
        shape=LoadShape(seconds=2, setup_seconds=1, warm_up_seconds=0, cool_seconds=0),
    ),
    "never done": Case(faults=Faults(never_done=True), levels=(2,)),
    "silent": Case(faults=Faults(silent=True), levels=(2,)),
    "hangs": Case(faults=Faults(stop_reading_after_seconds=2.0), levels=(2,)),
    "grows": Case(
        faults=Faults(),
        levels=(2,),
        objective="stable_p95<=5s",
        options=SweepOptions(generator="tests.capacity.slow_generator"),
        shape=LoadShape(seconds=1.5, warm_up_seconds=0, cool_seconds=0),
    ),
    "late": Case(
        faults=Faults(delay_seconds=30),
        levels=(2,),
        objective="stable_p95<=1s, wer<=10%",
        shape=LoadShape(seconds=30, setup_seconds=3, drain_seconds=1, warm_up_seconds=0, cool_seconds=0),
    ),
    "two steps": Case(faults=Faults(slots=3, says_slots=4), levels=(2, 4), two_step=True),
    "dies": Case(faults=Faults(die_after_seconds=2.0), levels=(1, 2, 4)),
    "slow generator": Case(
        faults=Faults(), levels=(2,), options=SweepOptions(processes=1, generator="tests.capacity.slow_generator")
    ),
}


async def measure(case: Case, corpus: Corpus, history: Path) -> Ran:
    watcher = Quiet()
    async with running_double(case.faults) as double:
        with History.writing(history) as store:
            target = parse_target(double.url, two_step=case.two_step)
            run = Sweep(store, target, corpus, case.shape, parse(case.objective), watcher, case.options)
            outcome = await run.run(LevelList(case.levels))
    with History.reading(history) as store:
        (stored,) = store.sweeps.every()
        return Ran(
            outcome=outcome,
            sweep=stored.sweep,
            stored=store.sweeps.levels(stored.id),
            watcher=watcher,
            handed_out=double.handed_out,
        )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load(coded_corpus(Path(tmp_path_factory.mktemp("speech")) / "coded"))


@pytest.fixture(scope="module")
def ran(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("histories"))

    async def all_of_them() -> dict[str, Ran]:
        # A few at a time: every case has a generator process of its own, and two cores start them slowly.
        gate = asyncio.Semaphore(4)

        async def one(name: str, case: Case) -> Ran:
            async with gate:
                return await measure(case, corpus, folder / f"{name}.db")

        done = await asyncio.gather(*(one(name, case) for name, case in CASES.items()))
        return dict(zip(CASES, done, strict=True))

    # A machine busy with other tests is late by itself; the generator that is slow on purpose is later.
    with pytest.MonkeyPatch.context() as patch:
        for module in (audit, level_runner):
            patch.setattr(module, "LATE_SECONDS", 0.12)
        return asyncio.run(all_of_them())


def test_an_honest_server_is_measured_as_it_is(ran: dict[str, Ran], corpus: Corpus) -> None:
    honest = ran["honest"]
    assert honest.outcome.state == "done"
    one, four = honest.outcome.levels
    # The objective counts word errors from one stream, so that one was measured first.
    assert [ask.purpose for ask in honest.watcher.asked] == ["baseline", ""]
    assert (one.streams, four.streams) == (1, 4)
    assert (four.audit, four.passed) == ("provisional", True)
    assert "of 60 s)" in four.reason
    assert four.achieved_concurrency == pytest.approx(4, abs=0.1)
    # Said at the end of its chunk, shown 0.3 s after the chunk came that ended it: at most a chunk later.
    assert four.stable_p50_seconds is not None
    assert 0.29 <= four.stable_p50_seconds <= 0.6
    assert (four.wer_ratio, four.missing_words) == (0, 0)
    assert (four.gpu_spread, four.streams_per_gpu) == (0, 2)
    assert honest.sweep.state == "done"
    assert (honest.sweep.engine, honest.sweep.simulated, honest.sweep.corpus) == ("double", True, corpus.name)
    assert honest.stored == list(honest.outcome.levels)


def test_a_slow_generator_makes_a_level_invalid_and_leaves_no_answer(ran: dict[str, Ran]) -> None:
    level = ran["slow generator"].last
    assert (level.audit, level.passed) == ("invalid", None)
    assert "the load generator was late itself" in level.reason


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="on one core a second process would not help")
def test_a_late_generator_gets_another_process_and_measures_again(ran: dict[str, Ran]) -> None:
    grown = ran["grows"]
    assert "measuring again with 2 processes" in grown.watcher.notes[0]
    assert [level.repeat for level in grown.stored] == [0, 1]
    assert {level.passed for level in grown.stored} == {None}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("drops text", "of the words never came"),
        ("few live", "of 3 streams were live at once"),
        ("refuses some", "2.0 of 4 streams were live at once (No GPU resources available)"),
        ("refuses all", "0.0 of 2 streams were live at once (No GPU resources available)"),
        ("nonsense", "not a message of the native protocol"),
        ("never ready", "not ready in 1 s"),
        ("silent", "errors 100 %"),
        ("never done", "errors 100 %"),
        ("hangs", "errors 100 %"),
    ],
)
def test_a_dishonest_or_broken_server_fails_with_the_right_reason(ran: dict[str, Ran], case: str, reason: str) -> None:
    level = ran[case].last
    assert level.passed is False
    assert reason in level.reason
    # Of a server that let in nobody nothing more is to be learnt.
    assert ran[case].outcome.state == ("done" if level.connected else "failed")
    assert ran[case].outcome.unreachable is (not level.connected)
    assert ran[case].stored[-1] == level


def test_words_that_a_stopped_stream_had_not_heard_yet_are_no_errors(ran: dict[str, Ran]) -> None:
    late = ran["late"].last
    assert late.passed is False
    assert late.reason == "stopped early: half of the streams were more than 6 s behind"
    # Nothing was lost, only late: what would have come is not known.
    assert (late.wer_ratio, late.missing_words) == (None, None)


def test_no_partials_is_said_and_never_passes(ran: dict[str, Ran]) -> None:
    level = ran["no partials"].last
    assert level.audit == "invalid"
    assert level.passed is not True
    assert "no partial results" in level.reason


def test_two_steps_go_where_connect_says_and_a_full_one_is_a_refusal(ran: dict[str, Ran]) -> None:
    two, four = ran["two steps"].outcome.levels
    assert two.passed
    assert ran["two steps"].handed_out == 5
    page = html(report(ran["two steps"].outcome))
    assert "Streams on each replica, at 4 streams</h2>" in page
    assert ran["two steps"].sweep.server in page
    assert (four.passed, four.connected, four.refused, four.failed) == (False, 3, 1, 0)
    assert "no room" in four.reason


def test_refusals_and_failures_are_counted_apart(ran: dict[str, Ran]) -> None:
    some = ran["refuses some"].last
    assert (some.connected, some.refused, some.failed) == (2, 2, 0)
    nonsense = ran["nonsense"].last
    assert (nonsense.refused, nonsense.failed) == (0, 2)


def test_a_server_that_dies_ends_the_sweep_with_what_it_has(ran: dict[str, Ran]) -> None:
    dead = ran["dies"]
    assert dead.outcome.state == "failed"
    assert dead.outcome.unreachable
    assert dead.sweep.state == "failed"
    assert "cannot reach" in (dead.sweep.reason or "")
    assert [level.passed for level in dead.stored] == [False]


async def test_nothing_there_is_exit_3_and_no_row(corpus: Corpus, tmp_path: Path) -> None:
    with History.writing(tmp_path / "h.db") as store:
        run = Sweep(store, parse_target("127.0.0.1:9"), corpus, SHAPE, parse(DEFAULT), Quiet())
        with pytest.raises(UserError, match="cannot reach") as caught:
            await run.run(LevelList([1]))
        assert caught.value.code == Exit.UNREACHABLE
        assert not store.sweeps.every()


async def test_an_interrupted_sweep_keeps_its_levels_and_the_same_command_goes_on(
    corpus: Corpus, tmp_path: Path
) -> None:
    short = LoadShape(seconds=1.5, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
    objective = parse("stable_p95<=2s")
    options = SweepOptions(processes=1, plan_line="levels [1, 2]")
    with History.writing(tmp_path / "h.db") as store:
        async with running_double() as double:
            target, first = parse_target(double.url), Quiet()
            task = asyncio.create_task(
                Sweep(store, target, corpus, short, objective, first, options).run(LevelList([1, 2]))
            )
            async with asyncio.timeout(30):
                await first.first_level.wait()
            task.cancel()
            interrupted = await task
            assert interrupted.state == "interrupted"
            assert [level.streams for level in store.sweeps.levels(interrupted.sweep_id)] == [1]
            # Another command does not touch it; the same one goes on with it.
            other = SweepOptions(processes=1, plan_line="levels [1]")
            third = await Sweep(store, target, corpus, short, objective, Quiet(), other).run(LevelList([1]))
            assert third.sweep_id != interrupted.sweep_id
            second = Quiet()
            resumed = await Sweep(store, target, corpus, short, objective, second, options).run(LevelList([1, 2]))
    assert resumed.sweep_id == interrupted.sweep_id
    assert resumed.state == "done"
    assert [ask.streams for ask in second.asked] == [2]
    assert [level.streams for level in resumed.levels] == [1, 2]
    assert "1 level measured already" in second.notes[0]


async def test_a_full_disk_ends_the_sweep_with_what_was_measured(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Sweeps, "add_level", full)
    monkeypatch.setattr(Sweeps, "finish", full)
    short = LoadShape(seconds=1, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
    with History.writing(tmp_path / "h.db") as store:
        async with running_double() as double:
            run = Sweep(store, parse_target(double.url), corpus, short, parse("stable_p95<=2s"), Quiet())
            outcome = await run.run(LevelList([1, 2]))
    assert outcome.state == "failed"
    assert not outcome.unreachable
    assert "cannot be written: database or disk is full" in (outcome.reason or "")
    assert [level.streams for level in outcome.levels] == [1]
