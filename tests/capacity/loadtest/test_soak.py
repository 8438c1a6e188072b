"""Holding streams: blocks over streams that stay, what falls out and comes back, what drifts, and what is forgotten."""

import asyncio
from itertools import pairwise, product
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import Corpus, load
from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.messages import StreamResult
from capacity.loadgen.recording import ALWAYS, MeasuredWindow, StreamRecording, measure
from capacity.loadgen.word_latency import TextUpdate
from capacity.loadtest import drift
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import Soak
from capacity.loadtest.target import parse_target
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from tests.capacity.made_levels import level
from whisper_ops.history import History, LevelRecord
from whisper_ops.objective import parse

SHAPE = LoadShape(seconds=3, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
pytestmark = pytest.mark.slow


class Counting(Quiet):
    def __init__(self) -> None:
        super().__init__()
        self.stop_after = 0
        self.enough = asyncio.Event()

    def end(self, level: LevelRecord) -> None:
        super().end(level)
        if len(self.levels) == self.stop_after:
            self.enough.set()


class Ran(msgspec.Struct, kw_only=True):
    outcome: SweepOutcome
    stored: list[LevelRecord]
    accepted: int
    most_active: int


async def soak(corpus: Corpus, faults: Faults, history: Path, seconds: float, stop_after: int | None = None) -> Ran:
    watcher = Counting()
    async with running_double(faults) as double:
        with History.writing(history) as store:
            objective = parse("stable_p95<=1s, errors<=10%")
            run = Sweep(
                store,
                parse_target(double.url),
                corpus,
                SHAPE,
                objective,
                watcher,
                SweepOptions(processes=1, fresh=True),
            )
            task = asyncio.create_task(run.run(Soak(2, seconds)))
            if stop_after is not None:
                watcher.stop_after = stop_after
                async with asyncio.timeout(40):
                    await watcher.enough.wait()
                task.cancel()
            outcome = await task
            if stop_after is not None:
                await asyncio.wait_for(double.empty.wait(), 5)  # its streams are gone with it
            stored = store.sweeps.levels(outcome.sweep_id)
            assert store.database.rows("PRAGMA integrity_check").__next__() == {"integrity_check": "ok"}
    return Ran(outcome=outcome, stored=stored, accepted=double.accepted, most_active=double.most_active)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("soaks"))
    corpus = load(coded_corpus(folder / "coded"))

    async def all_of_them() -> dict[str, Ran]:
        done = await asyncio.gather(
            soak(corpus, Faults(), folder / "good.db", 12),
            soak(corpus, Faults(cuts_after_seconds=5), folder / "cut.db", 9),
            soak(corpus, Faults(), folder / "stopped.db", 3600, stop_after=2),
            soak(corpus, Faults(die_after_seconds=4.5), folder / "dies.db", 60),
        )
        return dict(zip(("good", "cut", "stopped", "dies"), done, strict=True))

    return asyncio.run(all_of_them())


def test_blocks_are_windows_over_streams_that_stay(ran: dict[str, Ran]) -> None:
    good = ran["good"]
    # Two connections in all, for four blocks.
    assert (good.accepted, good.most_active) == (2, 2)
    assert [block.repeat for block in good.stored] == [0, 1, 2, 3]
    assert [block.duration_seconds for block in good.stored] == pytest.approx([3.0] * 4)
    for block in good.stored:
        assert block.passed
        assert block.achieved_concurrency == pytest.approx(2, abs=0.1)
        assert (block.wer_ratio, block.missing_words, block.failed, block.connected) == (0, 0, 0, 2)
        assert block.words >= 10
    starts = [block.started_at for block in good.stored]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([3.0] * 3, abs=0.05)
    assert (good.outcome.conclusion or "").startswith("held for 12 s: 4 of 4 blocks met the objective; ")


def test_a_stream_that_was_cut_comes_back_and_counts_where_it_was_cut(ran: dict[str, Ran]) -> None:
    cut = ran["cut"]
    assert [block.failed for block in cut.stored] == [0, 2, 0]
    assert cut.stored[0].passed is True
    assert cut.stored[1].passed is False
    assert "connection lost" in cut.stored[1].reason or "errors" in cut.stored[1].reason
    assert cut.accepted == 4


def test_stopping_keeps_the_blocks_that_are_over(ran: dict[str, Ran]) -> None:
    stopped = ran["stopped"]
    assert stopped.outcome.state == "interrupted"
    assert [block.repeat for block in stopped.stored] == [0, 1]
    assert (stopped.outcome.conclusion or "").startswith("held for 6 s: 2 of 2 blocks")


def test_a_server_that_dies_ends_the_soak_with_what_it_has(ran: dict[str, Ran]) -> None:
    dead = ran["dies"]
    assert dead.outcome.state == "failed"
    assert dead.outcome.unreachable
    assert [block.passed for block in dead.stored][:2] == [True, False]


# --- what a stream forgets -----------------------------------------------------------------------------


WORDS = ["z" + "".join(letters) for letters in product("bcdfghjk", repeat=3)]
"""Each another."""
STREAM = StreamResult(number=0, outcome="done")


def test_what_was_measured_is_forgotten_and_the_next_block_is_the_same() -> None:
    words = WORDS[:400]
    spoken = [SpokenWord(word, float(k), f"clip {k // 5}") for k, word in enumerate(words)]
    updates = [TextUpdate(k + 0.5, word, "") for k, word in enumerate(words)]
    sent = [k / 10 for k in range(4000)]
    window = MeasuredWindow(300.0, 360.0)
    whole, short = (StreamRecording(0.1, list(spoken), list(updates), list(sent), [0.0] * 4000, 4000) for _ in range(2))
    short.forget(270.0)
    assert len(short.spoken) == len(short.updates) == 130
    assert len(short.sent) == len(short.lateness) == 1300
    assert measure(STREAM, short, window, window) == measure(STREAM, whole, window, window)
    assert measure(STREAM, whole, window, ALWAYS).score.reference == 400


def test_text_that_comes_late_does_not_spoil_a_block_after_forgetting() -> None:
    # Shown eight seconds late: at the cut, what was said before is shown after.
    words = WORDS[:200]
    spoken = [SpokenWord(word, float(k)) for k, word in enumerate(words)]
    recording = StreamRecording(0.1, spoken, [TextUpdate(k + 8.0, word, "") for k, word in enumerate(words)])
    recording.forget(70.0)
    found = measure(STREAM, recording, MeasuredWindow(100.0, 160.0), MeasuredWindow(100.0, 160.0))
    assert (found.score.reference, found.score.errors) == (60, 0)
    assert {round(word.stable, 6) for word in found.latencies} == {8.0}


# --- what drifts ---------------------------------------------------------------------------------------


def blocks(count: int, grow: float, noise: tuple[float, ...] = (0.0, 0.02, -0.01, 0.01)) -> list[LevelRecord]:
    return [
        level(5, 0.5 + grow * k / 60 + noise[k % len(noise)], started_at=60.0 * k, server_rss_bytes=1e9)
        for k in range(count)
    ]


def test_a_lag_that_grows_is_said_with_its_slope() -> None:
    said = drift.soak_conclusion(blocks(60, grow=0.6), {})
    assert said.startswith("held for 60 min: 60 of 60 blocks met the objective; growing: stable p95 +0.6 s an hour (")
    assert "memory" not in said


def test_noise_is_no_drift() -> None:
    said = drift.soak_conclusion(blocks(60, grow=0.0), {})
    assert "; nothing grows: stable p50" in said
    assert "the server's memory +0 MB an hour" in said


def test_memory_of_what_was_watched_is_followed() -> None:
    rows = [{"at": float(second), "cpu_ratio": 0.1, "memory_bytes": 1e8 + 1e4 * second} for second in range(1200)]
    said = drift.soak_conclusion(blocks(20, grow=0.0), {"proxy": rows})
    assert "growing: memory of proxy +36 MB an hour" in said


def test_a_growth_that_nobody_minds_is_none() -> None:
    grown = [level(5, 0.5, started_at=60.0 * k, server_rss_bytes=1e9 + 1e4 * k) for k in range(60)]
    assert "; nothing grows: " in drift.soak_conclusion(grown, {})


def test_a_few_blocks_say_nothing_of_a_drift() -> None:
    assert drift.soak_conclusion(blocks(3, grow=5.0), {}).endswith("fewer than 8 usable blocks say nothing of a drift")


def test_neighbours_that_are_alike_make_a_slope_less_certain() -> None:
    alone = drift.slope("x", "s", [(60.0 * k, [0.0, 0.1][k % 2]) for k in range(40)])
    alike = drift.slope("x", "s", [(60.0 * k, [0.0, 0.1][k // 10 % 2]) for k in range(40)])
    assert alone is not None
    assert alike is not None
    assert alike.high - alike.low > 2 * (alone.high - alone.low)
