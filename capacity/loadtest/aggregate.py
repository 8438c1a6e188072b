"""From streams to the figures of a level: pooled words, counted streams, the generator's own lateness."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from capacity.loadgen.messages import Finished, LevelOrder, StreamResult
from capacity.loadtest.responding_servers import spread
from whisper_ops.histogram import LatencyHistogram
from whisper_ops.history import LevelFigures, StreamRecord, UtteranceRecord, WordLatencyRecord
from whisper_ops.objective.word_errors import pooled


class StreamCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit needs beside the figures."""

    asked: int
    speech_words: int
    """Words said while every stream was to be live."""
    first_error: str | None
    """What the first stream was told that did not end well."""
    wants_token: bool = False
    """Whether that was about its token."""
    clip_errors: dict[str, tuple[int, int]] = {}
    """Word errors and words of each utterance, over all streams."""


def pool(level: LevelOrder, parts: Sequence[Finished]) -> tuple[LevelFigures, StreamCounts]:
    """Put the streams of all processes together."""
    streams = [stream for part in parts for stream in part.results]
    window = max(1e-9, level.window_until - level.window_from)
    # A place counts once for each end of a stream in it, though streams of a long level come back.
    outcomes = Counter(outcome for _, outcome in {(stream.number, stream.outcome) for stream in streams})
    # What a stream that the load test itself ended had not heard yet was never late: it is not known.
    scored = [stream for stream in streams if stream.outcome != "stopped"]
    reference = sum(s.score.reference for s in scored)
    listened = sum(s.sent_seconds for s in streams)
    late = np.concatenate([np.array(s.lateness) for s in streams] or [np.empty(0)])
    latencies = [word for s in streams for word in s.latencies]
    tails = _present(s.end_to_final_seconds for s in streams)
    ready = _present(s.ready_seconds for s in streams)
    figures = LevelFigures(
        achieved_concurrency=sum(s.live_seconds for s in streams) / window,
        words=len(latencies),
        **_spread("first", np.array([w.first for w in latencies])),
        **_spread("stable", np.array([w.stable for w in latencies])),
        end_to_final_p50_seconds=_quantile(tails, 0.5),
        end_to_final_p95_seconds=_quantile(tails, 0.95),
        connect_p95_seconds=_quantile(_present(s.connect_seconds for s in streams), 0.95),
        ready_p50_seconds=_quantile(ready, 0.5),
        ready_p95_seconds=_quantile(ready, 0.95),
        ready_max_seconds=_quantile(ready, 1.0),
        wer_ratio=sum(s.score.errors for s in scored) / reference if reference else None,
        missing_words=sum(s.score.deletions for s in scored) if reference else None,
        reference_words=reference or None,
        partials_per_second=sum(s.partials for s in streams) / listened if listened else None,
        connected=len({s.number for s in streams if s.ready_seconds is not None}),
        refused=outcomes["refused"],
        failed=outcomes["failed"] + outcomes["cut"] + outcomes["silent"],
        bytes_sent=sum(s.bytes_sent for s in streams),
        late_p50_seconds=_quantile(late, 0.5),
        late_p99_seconds=_quantile(late, 0.99),
        generator_cpu_ratio=max((p.cpu_seconds / p.wall_seconds for p in parts if p.wall_seconds), default=None),
        gpu_spread=spread([s for s in streams if s.ready_seconds is not None]),
    )
    troubled = next((s for s in streams if s.error), None)
    counts = StreamCounts(
        asked=len(level.streams),
        speech_words=sum(s.speech_words for s in streams),
        first_error=None if troubled is None else troubled.error,
        wants_token=troubled is not None and troubled.wants_token,
        clip_errors=dict(pooled(*(s.clip_errors for s in scored))),
    )
    return figures, counts


def stream_record(stream: StreamResult) -> StreamRecord:
    """The row of one stream; its level's id is filled in when it is stored."""
    scored = bool(stream.score.reference) and stream.outcome != "stopped"
    return StreamRecord(
        level_id=0,
        number=stream.number,
        gpu_id=stream.gpu_id,
        connect_seconds=stream.connect_seconds,
        ready_seconds=stream.ready_seconds,
        end_to_final_seconds=stream.end_to_final_seconds,
        audio_seconds=stream.sent_seconds,
        words=len(stream.latencies),
        missing_words=stream.score.deletions if scored else 0,
        wer_ratio=stream.score.errors / stream.score.reference if scored else None,
        stable_p95_seconds=_quantile(np.array([w.stable for w in stream.latencies]), 0.95),
        first_p95_seconds=_quantile(np.array([w.first for w in stream.latencies]), 0.95),
        partials=stream.partials,
        finals=stream.finals,
        bytes_sent=stream.bytes_sent,
        late_p99_seconds=_quantile(np.array(stream.lateness), 0.99),
        outcome=stream.outcome,
        error=stream.error,
        replica=stream.replica,
        connection_id=stream.connection_id,
        server_id=stream.server_id,
    )


def utterance_records(counts: StreamCounts) -> list[UtteranceRecord]:
    """The rows of a level's utterances."""
    return [
        UtteranceRecord(clip=clip, words=words, errors=wrong) for clip, (wrong, words) in counts.clip_errors.items()
    ]


def latency_records(streams: Sequence[StreamResult]) -> list[WordLatencyRecord]:
    """The rows of a level's word latencies, by bucket."""
    first = LatencyHistogram(word.first for stream in streams for word in stream.latencies)
    stable = LatencyHistogram(word.stable for stream in streams for word in stream.latencies)
    pairs = enumerate(zip(first.counts, stable.counts, strict=True))
    return [WordLatencyRecord(bucket=k, first=one, stable=other) for k, (one, other) in pairs if one or other]


def _spread(kind: str, values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {
        f"{kind}_p50_seconds": _quantile(values, 0.5),
        f"{kind}_p95_seconds": _quantile(values, 0.95),
        f"{kind}_p99_seconds": _quantile(values, 0.99),
        f"{kind}_max_seconds": _quantile(values, 1.0),
        f"{kind}_mean_seconds": float(values.mean()) if values.size else None,
    }


def _present(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _quantile(values: npt.NDArray[np.float64], q: float) -> float | None:
    return float(np.quantile(values, q)) if values.size else None
