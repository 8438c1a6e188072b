"""How each kind of level is run: the one runner's configurations, as values."""

import math
from collections.abc import Iterable

import msgspec

from capacity.loadtest.level import LoadShape, wall_seconds
from capacity.loadtest.level_request import LevelRequest
from capacity.loadtest.stopping import (
    MOST_BLOCKS,
    AnswerKnown,
    NoEvidence,
    Overloaded,
    StopRule,
    TextInTime,
    TimeLimit,
)
from capacity.loadtest.time_estimates import BETWEEN_SECONDS, USUAL_BLOCKS, WARM_UP_SECONDS
from whisper_ops.objective import Objective
from whisper_ops.objective.judgement import Baseline

_WARM_UP_SEED = 3
_WARM_UP_DRAIN_SECONDS = 2.0


class LevelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One level for the runner. Plain and adaptive levels, soaks and warm-ups differ in this and nowhere else."""

    streams: int
    shape: LoadShape
    """`shape.seconds` is the length of a block, or of the one window."""
    repeat: int = 0
    """How often this number of streams was measured before; it also varies what the streams say."""
    blocks: int | None = None
    """So many windows follow each other, at most, over streams that stay and reconnect when they are cut; None: one
    window, measured when its streams are over."""
    pooled: bool = True
    """Whether all blocks are one level; else each is a level of its own."""
    rules: tuple[StopRule, ...] = ()
    """What may end it early. Rules count what they see, so each configuration is run once."""


def plain_level(streams: int, shape: LoadShape, objective: Objective, repeat: int = 0) -> LevelConfig:
    """One window; ends early when the server is overloaded."""
    return LevelConfig(streams=streams, shape=shape, repeat=repeat, rules=(Overloaded(streams, objective),))


def adaptive_level(
    streams: int, shape: LoadShape, objective: Objective, baseline: Baseline, repeat: int = 0
) -> LevelConfig:
    """Blocks until the answer is known, pooled."""
    return LevelConfig(
        streams=streams,
        shape=shape,
        repeat=repeat,
        blocks=MOST_BLOCKS,
        rules=(Overloaded(streams, objective), AnswerKnown(objective, baseline.measures), NoEvidence()),
    )


def soak_level(streams: int, shape: LoadShape, objective: Objective, seconds: float) -> LevelConfig:
    """Blocks for `seconds`, each a level of its own."""
    return LevelConfig(
        streams=streams,
        shape=shape,
        blocks=max(1, math.ceil(seconds / shape.seconds - 1e-9)),
        pooled=False,
        rules=(Overloaded(streams, objective),),
    )


def warm_up_level(streams: int, shape: LoadShape, seconds: float, in_time: TextInTime) -> LevelConfig:
    """Streams that nobody measures, until their text comes in time, `seconds` at most."""
    patient = msgspec.structs.replace(
        shape, seconds=seconds, setup_seconds=seconds, drain_seconds=_WARM_UP_DRAIN_SECONDS, keep_text=False
    )
    return LevelConfig(streams=streams, shape=patient, repeat=_WARM_UP_SEED, rules=(in_time, TimeLimit(seconds)))


def configure(
    request: LevelRequest, shape: LoadShape, objective: Objective, baseline: Baseline, repeat: int
) -> LevelConfig:
    """The configuration of a level that a strategy asks for."""
    match request.kind:
        case "adaptive":
            return adaptive_level(request.streams, shape, objective, baseline, repeat)
        case "soak":
            return soak_level(request.streams, shape, objective, longest_seconds(request, shape))
        case "plain":
            one = msgspec.structs.replace(shape, seconds=longest_seconds(request, shape))
            return plain_level(request.streams, one, objective, repeat)


def longest_seconds(request: LevelRequest, shape: LoadShape) -> float:
    """How long the streams of a level are live at once, at most."""
    match request.kind:
        case "adaptive":
            return MOST_BLOCKS * shape.seconds
        case "soak":
            return shape.seconds if request.seconds is None else request.seconds
        case "plain":
            return min(shape.seconds, request.seconds or math.inf)


def expected_seconds(requests: Iterable[LevelRequest], shape: LoadShape, *, warm_up: bool = False) -> float:
    """How long these levels take, about; with `warm_up` before the first."""
    total = WARM_UP_SECONDS if warm_up and shape.warm_up_seconds else 0.0
    for request in requests:
        adaptive = request.kind == "adaptive"
        seconds = shape.seconds * USUAL_BLOCKS if adaptive else longest_seconds(request, shape)
        total += wall_seconds(request.streams, msgspec.structs.replace(shape, seconds=seconds)) + BETWEEN_SECONDS
    return total
