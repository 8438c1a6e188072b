"""A level's server lag is that level's own, whatever was on the server before it."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import load
from capacity.corpus.tone_corpus import make_tones
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions
from capacity.loadtest.samples import Sampler, level_samples
from capacity.loadtest.strategies import LevelList
from capacity.loadtest.target import parse_target
from tests.capacity.loadtest.test_runner import Quiet
from tests.dashboard.sockets import answering, http, listening, said, until
from tests.support.servers import running_server
from whisper_ops import wire
from whisper_ops.histogram import LatencyHistogram
from whisper_ops.history import History
from whisper_ops.objective import parse
from whisper_ops.snapshot import GpuFigures, Snapshot

MINUTE = 5.0
"""What the server's own p95 of its last minute says while the streams of before are in it."""


def serving(lags: LatencyHistogram, server: str = "a") -> wire.ServerSnapshot:
    """An answer of a server that counted so many lags, waits and batches of such lengths since it started."""
    whole, counts = said(), tuple(lags.counts)
    latency = wire.Latency(lag_p95_s=MINUTE, lag_bucket_counts=counts)
    gpus = tuple(
        msgspec.structs.replace(
            gpu, queue_wait_seconds_p95=MINUTE, compute_seconds_p95=MINUTE, queue_wait_bucket_counts=counts,
            compute_bucket_counts=counts,
        )
        for gpu in whole.gpu_status.gpus
    )  # fmt: skip
    return msgspec.structs.replace(
        whole,
        server_id=server,
        performance=msgspec.structs.replace(whole.performance, latency=latency),
        gpu_status=msgspec.structs.replace(whole.gpu_status, gpus=gpus),
    )


def all_of(polls: list[Snapshot]) -> list[float | None]:
    """Whatever a level keeps of what a server says of its last minute."""
    found = level_samples(polls)
    return [found.server_lag_p95_seconds, found.server_queue_p95_seconds, found.server_compute_p95_seconds]


async def sampled(answers: list[wire.ServerSnapshot]) -> list[Snapshot]:
    """What a level's sampler keeps of these answers, one a poll; the last is repeated."""
    bodies = iter([msgspec.json.encode(answer) for answer in answers])
    last = msgspec.json.encode(answers[-1])
    async with listening(answering(lambda: http(next(bodies, last)))) as port:
        sampler = Sampler(parse_target(f"127.0.0.1:{port}"), every_seconds=0.01)
        running = asyncio.create_task(sampler.run())
        await until(lambda: len(sampler.between(0, float("inf"))) >= len(answers))
        running.cancel()
    return sampler.between(0, float("inf"))[: len(answers)]


def counting(heavy: int, light: int) -> LatencyHistogram:
    return LatencyHistogram([MINUTE] * heavy + [0.2] * light)


async def test_a_short_level_after_a_heavy_one_counts_its_own_lags_only() -> None:
    polls = await sampled([serving(counting(1000, 10 * second)) for second in range(5)])
    assert [poll.figures.lag_p95_seconds for poll in polls if poll.figures] == [MINUTE] * 5, "the server's last minute"
    assert all(one is not None and 0.15 < one <= 0.2 for one in all_of(polls)), all_of(polls)


async def test_a_level_in_which_nothing_was_counted_has_no_lag() -> None:
    polls = await sampled([serving(counting(1000, 0)) for _ in range(4)])
    assert all_of(polls) == [None] * 3, "that of the last minute is nobody's of this level"


@pytest.mark.parametrize(("seconds", "expected"), [(20, 0.1), (60, 0.1), (11, 0.1), (5, 0.55)])
def test_how_busy_the_engine_was_before_is_not_this_levels(seconds: int, expected: float) -> None:
    # The mean of ten seconds: full before the level, a tenth in it.
    polls = [
        Snapshot(
            server="s",
            at=100.0 + second,
            gpus=(GpuFigures(gpu_id=0, busy_ratio=busy, batch_fill_mean=10 * busy),),
        )
        for second in range(seconds)
        for busy in [0.1 + 0.9 * max(0.0, 1 - (second + 1) / 10)]
    ]
    found = level_samples(polls)
    assert found.server_busy_ratio == pytest.approx(expected)
    assert found.server_batch_fill == pytest.approx(10 * expected)


async def test_servers_that_answer_in_turn_are_each_counted_from_their_own_answer_before() -> None:
    answers = [
        serving(counting(1000 * number, 10 * second), server=name)
        for second in range(4)
        for number, name in enumerate(("a", "b"))
    ]
    found = all_of(await sampled(answers))
    assert all(one is not None and one <= 0.2 for one in found), found


async def test_a_server_that_was_started_again_is_counted_from_nothing() -> None:
    answers = [serving(counting(1000, 0)), serving(counting(0, 5), server="b"), serving(counting(0, 10), server="b")]
    found = all_of(await sampled(answers))
    assert all(one is not None and one <= 0.2 for one in found), found


@pytest.mark.slow
@pytest.mark.serial
def test_a_20_s_level_right_after_a_heavier_one_reports_its_own_lag(tmp_path: Path) -> None:
    law = (
        "--engine",
        "simulated",
        "--devices",
        "sim:1",
        "--sim-law",
        "a=0.3,b=0.15",
        "--max-connections-per-gpu",
        "20",
    )
    shape = LoadShape(seconds=20, warm_up_seconds=0, cool_seconds=0)
    with running_server(tmp_path, *law) as running, History.writing(tmp_path / "history.db") as store:
        corpus = load(make_tones(tmp_path / "tones"))
        # An objective that nothing misses, so that no level is stopped early.
        sweep = Sweep(
            store, parse_target(running.url), corpus, shape, parse("errors<=100%"), Quiet(), SweepOptions(processes=1)
        )
        heavy, light = asyncio.run(sweep.run(LevelList((16, 1)))).levels
        minute = running.get("/snapshot")["performance"]["latency"]["lag_p95_s"]
    assert (heavy.streams, light.streams) == (16, 1)
    assert heavy.server_lag_p95_seconds is not None
    assert light.server_lag_p95_seconds is not None
    assert light.server_lag_p95_seconds < heavy.server_lag_p95_seconds / 2
    assert minute > 1.5 * light.server_lag_p95_seconds, "the server's own last minute still holds the heavier level"
