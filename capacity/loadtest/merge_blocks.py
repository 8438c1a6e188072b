"""Blocks that follow each other over the same streams, put together as one level."""

from collections.abc import Sequence

import msgspec

from capacity.loadgen.messages import Finished, StreamResult
from capacity.loadgen.word_latency import WordScore
from capacity.loadtest.level import MeasuredLevel, measure_level
from whisper_ops.objective.word_errors import pooled


def merge_blocks(blocks: Sequence[MeasuredLevel], repeat: int) -> MeasuredLevel:
    """One level of all blocks; what ended the last one early ended it."""
    first, last = blocks[0], blocks[-1]
    order = msgspec.structs.replace(first.order, window_until=last.order.window_until)
    by_place: dict[int, list[StreamResult]] = {}
    for block in blocks:
        for result in block.results:
            by_place.setdefault(result.number, []).append(result)
    parts = [part for block in blocks for part in block.parts]
    busiest = max(parts, key=lambda part: part.cpu_seconds / max(part.wall_seconds, 1e-9))
    results = tuple(_merge_streams(by_place[number]) for number in sorted(by_place))
    one = Finished(results, busiest.cpu_seconds, busiest.wall_seconds)
    polls = [snapshot for block in blocks for snapshot in block.snapshots]
    cores = sum(block.own_cores for block in blocks) / len(blocks)
    return measure_level(order, [one], polls, repeat, cores, last.stop)


def _merge_streams(pieces: Sequence[StreamResult]) -> StreamResult:
    """One place of the level over all blocks. Texts are the last block's: what was measured before is forgotten."""
    last = pieces[-1]
    ended = next((piece for piece in pieces if piece.outcome != "done"), last)
    connected = next((piece for piece in pieces if piece.ready_seconds is not None), pieces[0])
    return msgspec.structs.replace(
        connected,
        outcome=ended.outcome,
        error=ended.error,
        wants_token=ended.wants_token,
        end_to_final_seconds=last.end_to_final_seconds,
        sent_seconds=sum(piece.sent_seconds for piece in pieces),
        live_seconds=sum(piece.live_seconds for piece in pieces),
        speech_words=sum(piece.speech_words for piece in pieces),
        latencies=tuple(word for piece in pieces for word in piece.latencies),
        score=WordScore(*map(sum, zip(*(msgspec.structs.astuple(piece.score) for piece in pieces), strict=True))),
        clip_errors=dict(pooled(*(piece.clip_errors for piece in pieces))),
        partials=sum(piece.partials for piece in pieces),
        finals=sum(piece.finals for piece in pieces),
        bytes_sent=sum(piece.bytes_sent for piece in pieces),
        lateness=tuple(late for piece in pieces for late in piece.lateness),
        utterances=last.utterances,
        text=last.text,
        reference=last.reference,
    )
