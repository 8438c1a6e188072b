"""`make bench-host`: what one worker process costs the host for each stream, with an engine that computes nothing.

The event loop is one thread: when it fills a core, that is the limit, whatever the GPU could do. The talk is piper's
voice without a longer pause than people make, as Silero's detector knows noise for what it is.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from server import ipc
from tests.bench.figure import Figure
from tests.bench.gpu_meter import Gpu, say
from tests.bench.gpu_streams import Front
from tests.support.piper import spoken

SENTENCES = Path(__file__).parents[2] / "capacity" / "speech" / "sentences.txt"
LEVELS = (100, 560)
SECONDS = 8.0
GOAL_STREAMS, GOAL_CORES = 560, 1.0


def _voice() -> bytes:
    """Sentences in a row, with pauses of 0.6 to 1.5 s between them."""
    rng, parts = np.random.default_rng(1), []
    texts = [text for text in SENTENCES.read_text("utf-8").splitlines() if text][:24]
    with tempfile.TemporaryDirectory() as folder:
        for sound in spoken(Path(folder), *texts):
            parts += [sound, np.zeros(round(rng.uniform(0.6, 1.5) * 16000), np.float32)]
    return (np.concatenate(parts).clip(-1, 1) * 32767).astype("<i2").tobytes()


async def _levels(vad: str, track: bytes) -> list[Figure]:
    start = ipc.Start("host", "cpu", None, "default", 64, 2, 1, 0.0, {}, vad=vad, cadence_s=1.0)
    found = []
    async with Front(start, track, module="tests.bench.host_worker") as front:
        await front.loaded(60)
        for streams in LEVELS:
            level = await front.level("host", streams, 3.0, SECONDS, Gpu(None))
            limit = GOAL_CORES if streams == GOAL_STREAMS else None
            at = f"{streams} streams, detector of {vad}"
            found += [
                Figure(f"{at}: worker's event loop, cores", level.loop_cores or 0, "", limit),
                Figure("… the whole worker", level.worker_cores or 0),
                Figure("… rows a batch", level.batch_rows or 0),
                Figure("… texts a second of a stream that speaks", level.texts_per_second or 0),
                Figure("… p95 lag", level.lag_p95 or 0, "s"),
                Figure("… sending to it, cores", level.front_cores or 0),
            ]
    return found


def main() -> int:
    """Loudness, and Silero's network."""
    began, kept, track = time.monotonic(), True, _voice()
    for vad in ("level", "silero"):
        for figure in asyncio.run(_levels(vad, track)):
            say(figure)
            kept &= figure.kept
    say(f"  it took {time.monotonic() - began:.0f} s")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
