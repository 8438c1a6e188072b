"""A sweep: level after level on one server, each stored as soon as it ended, so that nothing measured is ever lost."""

import asyncio
import sqlite3
import time
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial

import msgspec

from capacity.corpus.clips import Corpus
from capacity.loadtest import drift
from capacity.loadtest.admission import no_stream_admitted, reach_accepting, slots_of
from capacity.loadtest.aggregate import latency_records, utterance_records
from capacity.loadtest.conclusion import levels_conclusion
from capacity.loadtest.level import LoadShape, MeasuredLevel, judge_level, stream_records, wall_seconds
from capacity.loadtest.level_config import expected_seconds, longest_seconds
from capacity.loadtest.level_details import LevelDetail, details, stored_baseline
from capacity.loadtest.level_request import LevelAnswer
from capacity.loadtest.level_runner import LevelRunner, RunnerOptions
from capacity.loadtest.observer import SweepObserver
from capacity.loadtest.other_load import MOST_SHARE, on_gpus, other_share
from capacity.loadtest.persistence import encoded, record_for, settings_for
from capacity.loadtest.process_watch import ProcessWatch
from capacity.loadtest.resume import ResumeSettings, find_interrupted, other_running_sweeps, reusable_levels
from capacity.loadtest.samples import busy_share
from capacity.loadtest.stopping import FEWEST_BLOCKS
from capacity.loadtest.strategies import BaselineFirst, Soak, Strategy
from capacity.loadtest.target import Target
from capacity.loadtest.transcripts import StreamTranscript, transcripts
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.history.records import SweepState
from whisper_ops.objective import Objective
from whisper_ops.objective.judgement import Baseline, is_baseline
from whisper_ops.snapshot import Snapshot

_WARM_STREAMS = 2
"""Together they warm up batches as well."""


class SweepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep as it ended, whether it went through or not."""

    sweep_id: int
    sweep: SweepRecord
    levels: tuple[LevelRecord, ...]
    state: SweepState
    reason: str | None
    conclusion: str | None = None
    """What the strategy has to say, such as a search's bracket."""
    unreachable: bool = False
    """Whether it ended because the server could not be reached any more."""
    transcripts: tuple[StreamTranscript, ...] = ()
    """What the streams that were measured now got, when their text is kept."""
    details: tuple[LevelDetail, ...] = ()
    """What was stored behind the levels, for pictures; whoever measured them."""
    watched: dict[str, list[dict[str, float]]] = {}


class SweepOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a sweep goes about it."""

    processes: int | None = None
    """Generator processes; None: as many as it takes."""
    fresh: bool = False
    """Never go on with an interrupted sweep."""
    plan_line: str = ""
    """The strategy as one line: what makes two commands the same."""
    watch: tuple[ProcessWatch, ...] = ()
    generator: str = "capacity.loadgen.worker"
    """The module that a generator process runs."""


class Sweep:
    """Runs a strategy's levels and keeps them.

    The history is written in between, when no stream runs and nothing else waits for the event loop; so Ctrl-C can
    never come in the middle of it.
    """

    def __init__(
        self,
        history: History,
        target: Target,
        corpus: Corpus,
        shape: LoadShape,
        objective: Objective,
        observer: SweepObserver,
        options: SweepOptions | None = None,
    ) -> None:
        self._history = history
        self._target = target
        self._corpus = corpus
        self._shape = shape
        self._objective = objective
        self._observer = observer
        self._options = options or SweepOptions()
        self._baseline = Baseline()
        self._transcripts: list[StreamTranscript] = []
        self._levels: list[LevelRecord] = []
        self._sweep_id = 0
        self._settings: ResumeSettings

    async def run(self, strategy: Strategy) -> SweepOutcome:
        """Measure what the strategy asks for, one stream first when the objective counts from it.

        A server that dies ends the sweep with what it has; so does cancelling.

        Raises:
            UserError: the server cannot be reached or drains to begin with (exit 3), has fewer slots than the streams
                that were asked for by name, or the same sweep is running.
        """
        first = await reach_accepting(self._target)
        self._warn_of_other_load(first)
        await self._fit_to_slots(strategy, first)
        self._settings = settings_for(self._options.plan_line, self._shape, first, self._target.address)
        with_baseline = BaselineFirst(strategy, self._knows_one_stream) if self._objective.needs_baseline else strategy
        sweep = self._begin(first, with_baseline)
        state: SweepState = "failed"
        reason: str | None = "the load test broke"
        unreachable = False
        try:
            async with self._level_runner() as runner:
                await self._run_levels(runner, with_baseline, (first.figures and first.figures.gpus) or 1)
            state, reason = "done", None
        except asyncio.CancelledError:
            goes_on = "" if isinstance(strategy, Soak) else "; the same command goes on from here"
            state, reason = "interrupted", f"stopped before its end{goes_on}"
        except UserError as error:
            state, reason, unreachable = "failed", str(error), error.code == Exit.UNREACHABLE
        finally:
            self._finish(state, reason or self._conclusion(strategy))
        return SweepOutcome(
            sweep_id=self._sweep_id,
            sweep=msgspec.structs.replace(
                sweep, state=state, reason=reason, finished_at=time.time(), settings=encoded(self._settings)
            ),
            levels=tuple(self._levels),
            state=state,
            reason=reason,
            conclusion=self._conclusion(strategy),
            unreachable=unreachable,
            transcripts=tuple(self._transcripts),
            details=details(self._history, self._sweep_id, self._levels),
            watched=self._watched,
        )

    def _warn_of_other_load(self, first: Snapshot) -> None:
        share = other_share([first], 0.0)
        if share is not None and share > MOST_SHARE:
            self._observer.note(
                f"other programs use {share:.0%} of the processors of {self._target.name} before the first level; "
                "stop them, or the results include their load"
            )

        gpu = on_gpus([first])
        if gpu is not None:
            took = "" if gpu.share is None else f" and take {gpu.share:.0%} of it"
            self._observer.note(
                f"other programs are on a GPU of {self._target.name}{took}: {', '.join(gpu.programs)}; "
                "stop them, or the results include their load"
            )

    async def _fit_to_slots(self, strategy: Strategy, first: Snapshot) -> None:
        """Nothing is learnt from streams that only find the server full."""
        slots = await slots_of(self._target, first, strategy.most_streams)
        if slots is not None and (change := strategy.fit(slots)) is not None:
            self._observer.note(f"{self._target.name}: {change}")

    def _conclusion(self, strategy: Strategy) -> str | None:
        soaked = isinstance(strategy, Soak) and self._levels
        return (
            drift.soak_conclusion(self._levels, self._watched)
            if soaked
            else strategy.conclusion or levels_conclusion(self._levels)
        )

    @property
    def _watched(self) -> dict[str, list[dict[str, float]]]:
        return {watch.name: watch.rows for watch in self._options.watch}

    def _begin(self, first: Snapshot, strategy: Strategy) -> SweepRecord:
        sweep = record_for(self._target, self._corpus, self._shape, self._objective, first, self._settings)
        for other in other_running_sweeps(self._history, sweep):
            self._observer.note(f"{other} loads {sweep.server} too: each of them measures the load of both")
        before = None if self._options.fresh else find_interrupted(self._history, sweep)
        if before is None:
            self._sweep_id = self._history.sweeps.start(sweep)
            return sweep
        self._sweep_id = before.id
        self._history.sweeps.resume(before.id, sweep.settings)
        done = reusable_levels(self._history.sweeps.levels(before.id))
        self._observer.note(f"going on with sweep {before.id}: {counted(len(done), 'level')} measured already")
        for level in done:
            if not self._baseline.measures and is_baseline(level):
                self._baseline = stored_baseline(self._history, level)
            strategy.add(self._answer_of_stored(level))
            self._levels.append(level)
            self._observer.end(level)
        return before.sweep

    def _level_runner(self) -> AbstractAsyncContextManager[LevelRunner]:
        options = RunnerOptions(
            target=self._target,
            shape=self._shape,
            objective=self._objective,
            progress=self._observer.progress,
            note=self._observer.note,
            processes=self._options.processes,
            watch=self._options.watch,
        )
        return LevelRunner.ready(options, self._corpus.folder, self._options.generator)

    async def _run_levels(self, runner: LevelRunner, strategy: Strategy, gpus: int) -> None:
        number = len(self._levels)
        self._observer.expect(expected_seconds(strategy.expected, self._shape, warm_up=True))
        if (request := strategy.next()) is not None and self._shape.warm_up_seconds:
            await self._warm_up(runner, max(gpus, min(_WARM_STREAMS, request.streams)))
        while (request := strategy.next()) is not None:
            number += 1
            whole = msgspec.structs.replace(self._shape, seconds=longest_seconds(request, self._shape))
            self._observer.expect(expected_seconds(strategy.expected, self._shape))
            self._observer.begin(request, number, strategy.levels_left, wall_seconds(request.streams, whole))
            repeats = partial(self._repeats, request.streams)
            async with aclosing(runner.run(request, repeats, self._baseline)) as measurements:
                async for measured, answers in measurements:
                    level = self._judge(measured)
                    if answers:
                        adaptive = request.kind == "adaptive"
                        strategy.add(LevelAnswer(request.streams, level.passed, adaptive, busy_share(level)))
                        await self._check_server(measured)
            if self._levels[-1].passed is False and strategy.next() is not None and self._shape.cool_seconds:
                await self._cool_down(runner)

    def _repeats(self, streams: int) -> int:
        return sum(level.streams == streams for level in self._levels)

    async def _check_server(self, measured: MeasuredLevel) -> None:
        """Raises UserError when the server is gone, drains, or has admitted no stream since the sweep began."""
        if not any(level.connected for level in self._levels):
            raise await no_stream_admitted(
                self._target, measured.counts.first_error, wants_token=measured.counts.wants_token
            )
        if measured.figures.failed or measured.figures.refused:
            await reach_accepting(self._target)

    async def _warm_up(self, runner: LevelRunner, streams: int) -> None:
        self._observer.pause("warming up", self._shape.warm_up_seconds)
        probed = await runner.warm_up(streams, self._shape.warm_up_seconds)
        self._settings = msgspec.structs.replace(self._settings, warm_up=probed)
        self._history.sweeps.set_settings(self._sweep_id, encoded(self._settings))
        if not probed.let_in:
            raise await no_stream_admitted(self._target, probed.error, wants_token=probed.wants_token)
        self._observer.note(probed.sentence("warmed up in", "of warming up"))

    async def _cool_down(self, runner: LevelRunner) -> None:
        """After a missed level: until a stream that is not measured gets its text in time."""
        self._observer.pause("waiting for the server to recover", self._shape.cool_seconds)
        probed = await runner.warm_up(1, self._shape.cool_seconds)
        if not probed.let_in:
            await reach_accepting(self._target)
        self._observer.note(probed.sentence("the server recovered in", "of waiting"))

    def _knows_one_stream(self) -> bool:
        return bool(self._baseline.measures)

    def _judge(self, measured: MeasuredLevel) -> LevelRecord:
        if not self._baseline.measures and is_baseline(measured.record(self._sweep_id)):
            self._baseline = Baseline(measured.measures, measured.counts.clip_errors)
        level = judge_level(measured, self._objective, self._baseline, self._sweep_id, self._shape.most_other_load)
        if self._shape.keep_text:
            self._transcripts += transcripts(measured.streams, measured.repeat, measured.results, self._corpus)
        self._levels.append(level)
        self._observer.end(level)
        self._store(level, measured)
        return level

    def _store(self, level: LevelRecord, measured: MeasuredLevel) -> None:
        streams = stream_records(measured)
        utterances, latencies = utterance_records(measured.counts), latency_records(measured.results)
        try:
            self._history.sweeps.add_level(level, streams, utterances, latencies)
        except sqlite3.Error as error:
            raise UserError(
                f"the history {self._history.path} cannot be written: {error}; the last level is shown, and not kept"
            ) from error

    def _finish(self, state: SweepState, reason: str | None) -> None:
        try:
            self._history.sweeps.finish(self._sweep_id, state, time.time(), reason)
        except sqlite3.Error:
            if state != "failed":  # else it was said already why
                raise

    def _answer_of_stored(self, level: LevelRecord) -> LevelAnswer:
        # The history keeps no kind of a level: what lasted longer than any plain one was an adaptive one.
        adaptive = level.duration_seconds > self._shape.seconds * (1 + FEWEST_BLOCKS) / 2
        return LevelAnswer(level.streams, level.passed, adaptive, busy_share(level))
