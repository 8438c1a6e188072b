"""What a sweep keeps about itself: its row, and the settings in it."""

import os
import socket
import time

import msgspec

from capacity.corpus.clips import Corpus
from capacity.loadtest.level import LoadShape
from capacity.loadtest.resume import ResumeSettings
from capacity.loadtest.target import Target
from whisper_ops.history import SweepRecord
from whisper_ops.identity import Identity
from whisper_ops.objective import Objective
from whisper_ops.snapshot import Snapshot


def record_for(
    target: Target, corpus: Corpus, shape: LoadShape, objective: Objective, first: Snapshot, settings: ResumeSettings
) -> SweepRecord:
    """The row of a sweep that begins now, of a server whose first poll was `first`."""
    runs = first.identity or Identity()
    return SweepRecord(
        **msgspec.structs.asdict(runs) | {"software": runs.software or target.software},
        server=target.name,
        started_at=time.time(),
        gpus=first.figures.gpus if first.figures else None,
        protocol=target.protocol,
        chunk_seconds=shape.chunk_seconds,
        duty_cycle=shape.duty_cycle,
        arrivals=shape.arrivals,
        corpus=corpus.name,
        pause_share=corpus.pause_share(shape.duty_cycle),
        objective=objective.canonical,
        settings=encoded(settings),
    )


def settings_for(plan_line: str, shape: LoadShape, first: Snapshot, address: str | None = None) -> ResumeSettings:
    """What must be the same to go on, and the caps that the server names."""
    memories = [gpu.memory_total_bytes for gpu in first.gpus if gpu.memory_total_bytes is not None]
    return ResumeSettings(
        plan=plan_line,
        level_seconds=shape.seconds,
        pid=os.getpid(),
        host_name=socket.gethostname(),
        gpu_memory_total_bytes=min(memories, default=None),
        slots=first.figures.slots if first.figures else None,
        address=address,
        slots_per_gpu=first.figures.slots_per_gpu if first.figures else None,
        host=msgspec.structs.asdict(first.host) if first.host else None,
    )


def encoded(settings: ResumeSettings) -> str:
    """As the history keeps them."""
    return msgspec.json.encode(settings).decode()
