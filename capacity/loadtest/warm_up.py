"""Streams that nobody measures: they warm a server up, or show that one that drowned is in time again.

The first seconds of a fresh server are no evidence (models load, kernels compile, pages come from disk), nor are those
in which it still works off a level that it missed.
"""

import time
from collections.abc import Callable

import msgspec

from capacity.loadgen.messages import LoadProgress
from capacity.loadgen.pool import Generators
from capacity.loadtest.level import LoadShape, make_order
from capacity.loadtest.target import Target
from whisper_ops.snapshot import Snapshot

_IN_A_ROW = 2
"""Reports, one a second: the first text of a cold server catches up with all at once, and the next shows its pace."""
_SEED = 3
_DRAIN_SECONDS = 2.0


class WarmUpResult(msgspec.Struct, frozen=True):
    """How it went."""

    streams: int
    seconds: float
    """How long it took in all."""
    text_after_seconds: float | None
    """When the first text had come, to the second; None: none came."""
    in_time: bool
    """Whether the text came in time in the end."""
    let_in: bool = True
    """Whether the server took any of the streams."""
    error: str | None = None
    """What became of the streams, where it was not well."""
    wants_token: bool = False
    """Whether that was about the token."""


async def probe(
    generators: Generators,
    target: Target,
    shape: LoadShape,
    streams: int,
    behind_seconds: float,
    on_progress: Callable[[LoadProgress, Snapshot | None], None],
    *,
    at_most_seconds: float,
) -> WarmUpResult:
    """Let `streams` speak until their text is no more than `behind_seconds` behind, `at_most_seconds` long."""
    began = time.monotonic()
    patient = msgspec.structs.replace(
        shape, seconds=at_most_seconds, setup_seconds=at_most_seconds, drain_seconds=_DRAIN_SECONDS, keep_text=False
    )
    order = make_order(target, patient, streams, _SEED, began)
    text_after: list[float] = []
    in_time = 0

    def heard(progress: LoadProgress) -> None:
        nonlocal in_time
        on_progress(progress, None)
        seconds = time.monotonic() - began
        if progress.texts and not text_after:
            text_after.append(seconds)
        behind = progress.behind_p50_seconds
        speaking = progress.live > 0 and progress.live + progress.failed == streams
        good = bool(text_after) and speaking and behind is not None and behind <= behind_seconds
        in_time = in_time + 1 if good else 0
        if in_time >= _IN_A_ROW or seconds >= at_most_seconds:
            generators.stop()

    results = [stream for part in await generators.run(order, heard) for stream in part.results]
    troubled = next((stream for stream in results if stream.error), None)
    return WarmUpResult(
        streams=streams,
        seconds=round(time.monotonic() - began, 1),
        text_after_seconds=round(text_after[0], 1) if text_after else None,
        in_time=in_time >= _IN_A_ROW,
        let_in=any(stream.ready_seconds is not None for stream in results),
        error=None if troubled is None else troubled.error,
        wants_token=troubled is not None and troubled.wants_token,
    )
