"""One level of load as data: its order to the generators, what was measured, and its verdict."""

import time
from collections.abc import Sequence

import msgspec

from capacity.loadgen.arrivals import LEAD_SECONDS, SETTLE_SECONDS, level_seconds, offsets, ramp_seconds
from capacity.loadgen.messages import Finished, LevelOrder, StreamOrder, StreamResult
from capacity.loadtest.aggregate import StreamCounts, pool, stream_record
from capacity.loadtest.audit import audit
from capacity.loadtest.other_load import MOST_SHARE, on_gpus
from capacity.loadtest.responding_servers import answered, spread
from capacity.loadtest.samples import LevelSamples, level_samples
from capacity.loadtest.target import Target
from whisper_ops.history import LevelFigures, LevelRecord, StreamRecord
from whisper_ops.objective import Objective
from whisper_ops.objective.findings import OtherLoad, StoppedEarly, Unsettled
from whisper_ops.objective.judgement import Baseline, is_evidence, judged, measures_of
from whisper_ops.snapshot import Snapshot


class LoadShape(msgspec.Struct, frozen=True, kw_only=True):
    """What all levels of a sweep have in common."""

    seconds: float = 60.0
    """How long all streams of a level are live at once."""
    chunk_seconds: float = 0.1
    duty_cycle: float = 1.0
    arrivals: str = "spread"
    setup_seconds: float = 30.0
    settle_seconds: float = SETTLE_SECONDS
    drain_seconds: float = 20.0
    warm_up_seconds: float = 60.0
    """How long streams that are not measured may speak until text comes in time, before the first level; 0: none do."""
    cool_seconds: float = 60.0
    """The same after a level that was missed: an overloaded server gets time to recover."""
    keep_text: bool = False
    most_other_load: float = MOST_SHARE
    """The share of the server's machine that other programs may take; a level with more is no evidence."""


class MeasuredLevel(msgspec.Struct, frozen=True, kw_only=True):
    """A level as it was measured, not yet judged."""

    streams: int
    repeat: int
    started_at: float
    seconds: float
    figures: LevelFigures
    counts: StreamCounts
    readings: LevelSamples
    order: LevelOrder
    parts: tuple[Finished, ...]
    snapshots: tuple[Snapshot, ...]
    """The server's answers in the window."""
    own_cores: float = 0.0
    """What the load test itself took meanwhile."""
    stop: StoppedEarly | Unsettled | None = None
    """Why it was stopped early, or what it left open however long it was held; None: neither."""

    @property
    def results(self) -> tuple[StreamResult, ...]:
        """Every stream, by number."""
        return tuple(sorted((r for part in self.parts for r in part.results), key=lambda r: r.number))

    @property
    def measures(self) -> dict[str, float | None]:
        """Everything an objective can name."""
        return measures_of(self.record(0))

    def record(self, sweep_id: int) -> LevelRecord:
        """Its row in the history, without a verdict."""
        figures, readings = msgspec.structs.asdict(self.figures), msgspec.structs.asdict(self.readings)
        let_in = [result for result in self.results if result.ready_seconds is not None]
        who = answered([(result, result.total_gpus) for result in let_in], self.snapshots)
        # One server's own count of streams a GPU includes GPUs that got none, and streams of others.
        if readings["gpu_spread"] is None or (who.servers or 1) > 1:
            readings["gpu_spread"] = spread(let_in, who.gpus)
        return LevelRecord(
            sweep_id=sweep_id,
            streams=self.streams,
            repeat=self.repeat,
            started_at=self.started_at,
            duration_seconds=self.seconds,
            audit="invalid",
            passed=None,
            reason="",
            servers=who.servers,
            gpus=who.gpus,
            **{**figures, **readings},
        )


def wall_seconds(streams: int, shape: LoadShape) -> float:
    """How long a level takes, about, without a slow drain."""
    return level_seconds(streams, shape.seconds, shape.arrivals, shape.settle_seconds)


def make_order(target: Target, shape: LoadShape, streams: int, seed: int, now: float) -> LevelOrder:
    """Lay out a level on the monotonic clock from `now` on.

    Streams end as they began, one after the other, so that their last texts do not all fall due at once.
    """
    ramp = ramp_seconds(streams, shape.seconds, shape.arrivals)
    begin = now + LEAD_SECONDS
    window = begin + ramp + shape.settle_seconds
    starts = offsets(streams, ramp, shape.arrivals, seed)
    return LevelOrder(
        endpoint=target.endpoint,
        chunk_seconds=shape.chunk_seconds,
        duty_cycle=shape.duty_cycle,
        window_from=window,
        window_until=window + shape.seconds,
        setup_seconds=shape.setup_seconds,
        drain_seconds=shape.drain_seconds,
        keep_text=shape.keep_text,
        streams=tuple(
            # A stride that shares no factor with most corpus sizes keeps neighbours apart in the text.
            StreamOrder(k, begin + start, window + shape.seconds + start, first_clip=(seed + k) * 7)
            for k, start in enumerate(starts)
        ),
    )


def measure_level(
    order: LevelOrder,
    parts: Sequence[Finished],
    snapshots: Sequence[Snapshot],
    repeat: int,
    own_cores: float = 0.0,
    stop: StoppedEarly | Unsettled | None = None,
) -> MeasuredLevel:
    """What all processes saw in the order's window, with what the server said meanwhile; `stop`: why it ended early."""
    figures, counts = pool(order, parts)
    if isinstance(stop, StoppedEarly) and stop.ended is not None:
        stop = msgspec.structs.replace(stop, error=counts.first_error)
    return MeasuredLevel(
        streams=len(order.streams),
        repeat=repeat,
        started_at=order.window_from + time.time() - time.monotonic(),
        seconds=order.window_until - order.window_from,
        figures=figures,
        counts=counts,
        readings=level_samples(snapshots, own_cores),
        own_cores=own_cores,
        order=order,
        parts=tuple(parts),
        snapshots=tuple(snapshots),
        stop=stop,
    )


def judge_level(
    measured: MeasuredLevel,
    objective: Objective,
    baseline: Baseline,
    sweep_id: int = 0,
    most_other_load: float = MOST_SHARE,
) -> LevelRecord:
    """Audit a level and hold it against an objective: its row in the history."""
    audited = audit(
        measured.figures,
        measured.counts,
        measured.seconds,
        baseline.measures.get("missing"),
        measured.stop if isinstance(measured.stop, StoppedEarly) else None,
        _other_load(measured, most_other_load),
    )
    left_open = isinstance(measured.stop, Unsettled) and is_evidence(audited.audit)
    findings = (*audited.findings, measured.stop) if left_open and measured.stop else audited.findings
    return judged(measured.record(sweep_id), audited.audit, findings, objective, measured.counts.clip_errors, baseline)


def _other_load(measured: MeasuredLevel, most: float) -> OtherLoad | None:
    gpu = on_gpus(measured.snapshots)
    if gpu is not None and gpu.share is not None and gpu.share > MOST_SHARE:
        return OtherLoad(gpu.share, counts=gpu.share <= most, gpu=True, programs=gpu.programs)
    share = measured.readings.other_cpu_ratio
    return OtherLoad(share, counts=share <= most) if share is not None and share > MOST_SHARE else None


def stream_records(measured: MeasuredLevel) -> list[StreamRecord]:
    """The rows of a level's streams."""
    return [stream_record(result) for result in measured.results]
