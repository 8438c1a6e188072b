"""A level that is held until its answer is known: when that is, and its blocks put together as one level.

Near the knee a queue grows slowly: a level may pass for minutes and not hold. So its streams stay on, block after
block, and a line through the blocks says where the whole level would end. It is over when that is surely on one side of
the objective, and what was measured is there already.
"""

from collections.abc import Mapping, Sequence

import msgspec

from capacity.loadgen.messages import Finished, StreamResult
from capacity.loadgen.word_latency import WordScore
from capacity.loadtest.level import Measured, measured
from capacity.models.linear import fit_series
from whisper_ops.objective import Objective, ObjectiveTerm
from whisper_ops.objective.findings import Unsettled
from whisper_ops.objective.judgement import missed
from whisper_ops.objective.word_errors import pooled

LEAST_BLOCKS = 3
"""A line needs them, and less is a short level."""
_ENOUGH_BLOCKS = 10
"""So long a level is to hold; a line through fewer says where it would be then."""
_CONFIDENCE = 0.95
"""Two-sided."""
MOST_BLOCKS = 20
"""Where ten leave it open which side of the objective a level is on."""


class KnownAnswer:
    """Watches the blocks of one held level."""

    def __init__(self, objective: Objective, one_stream: Mapping[str, float | None]) -> None:
        # Shares, such as errors, do not creep: what they are by then is all there is to know.
        self._terms = [term for term in objective.terms if term.unit == "seconds"]
        self._one_stream = one_stream
        self._blocks: list[Mapping[str, float | None]] = []
        self._sides: list[bool | None] = []

    @property
    def doubt(self) -> Unsettled | None:
        """What all blocks that may be held could not tell; None: nothing."""
        if len(self._blocks) < MOST_BLOCKS or False in self._sides or all(self._sides):
            return None
        return Unsettled(
            tuple(term.written for term, side in zip(self._terms, self._sides, strict=True) if side is None)
        )

    def seen(self, block: Mapping[str, float | None], whole: Mapping[str, float | None]) -> bool:
        """Whether nothing more is to be learnt.

        Args:
            block: the measures of one more block.
            whole: those of all blocks together, which the level will be judged by.
        """
        self._blocks.append(block)
        if len(self._blocks) < LEAST_BLOCKS:
            return False
        self._sides = [self._side(term, whole) for term in self._terms]
        return False in self._sides or all(self._sides) or len(self._blocks) >= MOST_BLOCKS

    def _side(self, term: ObjectiveTerm, whole: Mapping[str, float | None]) -> bool | None:
        """Whether the condition is met and would surely be, is missed and would be (False), or nobody knows (None)."""
        values = {n: value for n, block in enumerate(self._blocks) if (value := block.get(term.name)) is not None}
        line = fit_series(list(values), list(values.values()))
        if line is None:
            return None
        # A whole level's figure is about the mean of its blocks', which the line has in their middle.
        middle = (max(_ENOUGH_BLOCKS, len(self._blocks)) - 1) / 2
        height, half = line.at(middle), line.unsure(middle, _CONFIDENCE)
        surely = half if term.at_most else -half
        met, met_at_best, met_at_worst = (
            missed(term, value, self._one_stream.get(term.name)) is None
            for value in (whole.get(term.name), height - surely, height + surely)
        )
        if met:
            return True if met_at_worst else None
        return None if met_at_best else False


def together(blocks: Sequence[Measured], repeat: int) -> Measured:
    """Blocks that follow each other as one level; what ended the last one early ended it."""
    first, last = blocks[0], blocks[-1]
    order = msgspec.structs.replace(first.order, window_until=last.order.window_until)
    pieces: dict[int, list[StreamResult]] = {}
    for block in blocks:
        for result in block.results:
            pieces.setdefault(result.number, []).append(result)
    parts = [part for block in blocks for part in block.parts]
    busiest = max(parts, key=lambda part: part.cpu_seconds / max(part.wall_seconds, 1e-9))
    results = tuple(_whole(pieces[number]) for number in sorted(pieces))
    one = Finished(results, busiest.cpu_seconds, busiest.wall_seconds)
    polls = [snapshot for block in blocks for snapshot in block.snapshots]
    cores = sum(block.own_cores for block in blocks) / len(blocks)
    return msgspec.structs.replace(measured(order, [one], polls, repeat, cores), stopped=last.stopped)


def _whole(pieces: Sequence[StreamResult]) -> StreamResult:
    """One place of a held level: its streams, should it have had several, and their blocks."""
    first, last = pieces[0], pieces[-1]
    ended = next((piece for piece in pieces if piece.outcome != "done"), last)
    ready = next((piece for piece in pieces if piece.ready_seconds is not None), first)
    return StreamResult(
        number=first.number,
        outcome=ended.outcome,
        error=ended.error,
        wants_token=ended.wants_token,
        gpu_id=ready.gpu_id,
        replica=ready.replica,
        connection_id=ready.connection_id,
        server_id=ready.server_id,
        total_gpus=ready.total_gpus,
        connect_seconds=ready.connect_seconds,
        ready_seconds=ready.ready_seconds,
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
        # What was said long ago is forgotten while streams are held.
        heard=last.heard,
        text=last.text,
        reference=last.reference,
    )
