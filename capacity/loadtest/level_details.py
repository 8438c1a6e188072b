"""What stands behind a level's row: its streams, its utterances, and its words by latency, as the history keeps them.

Pictures and comparisons are made from what was stored, so that a sweep that went on after a pause shows the whole.
"""

from collections.abc import Iterable

import msgspec

from whisper_ops.history import History, LevelRecord, StreamRecord, WordLatencyRecord
from whisper_ops.objective.judgement import Baseline, measures_of
from whisper_ops.objective.word_errors import Clips

_MOST = 9
"""Levels: more lines make no picture."""


class LevelDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One level's parts."""

    streams: int
    results: tuple[StreamRecord, ...]
    latencies: tuple[WordLatencyRecord, ...]


def details(history: History, sweep_id: int, levels: Iterable[LevelRecord]) -> tuple[LevelDetail, ...]:
    """The parts of the last usable measurement of each number of streams, fewest first; of the largest few."""
    last = {level.streams: level for level in levels if level.words}
    found = []
    for streams in sorted(last)[-_MOST:]:
        key = (sweep_id, streams, last[streams].repeat)
        results, latencies = history.sweeps.streams(*key), history.sweeps.word_latencies(*key)
        found.append(LevelDetail(streams=streams, results=tuple(results), latencies=tuple(latencies)))
    return tuple(found)


def clips(history: History, level: LevelRecord) -> Clips:
    """The utterances of a stored level; none where an older version measured it."""
    stored = history.sweeps.utterances(level.sweep_id, level.streams, level.repeat)
    return {one.clip: (one.errors, one.words) for one in stored}


def stored_baseline(history: History, level: LevelRecord) -> Baseline:
    """What a stored level of one stream is needed for."""
    return Baseline(measures_of(level), clips(history, level))
