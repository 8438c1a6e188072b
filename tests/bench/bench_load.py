"""How many streams one generator process drives on one core: `make bench-load`.

The sink and the generator get a core each. Prints lateness and CPU for rising numbers of streams at 100 ms chunks.
"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress

import click
import psutil

from capacity.corpus import clips
from capacity.loadgen.pool import Generators
from capacity.loadtest.aggregate import pool
from capacity.loadtest.level import LoadShape, make_order
from capacity.loadtest.target import parse_target


async def measure(port: int, streams: int, seconds: float) -> None:
    target = parse_target(f"http://127.0.0.1:{port}")
    async with Generators(clips.default_folder()) as generators:
        (generator,) = [c for c in psutil.Process().children() if "capacity.loadgen.worker" in " ".join(c.cmdline())]
        with suppress(psutil.Error, AttributeError):
            generator.cpu_affinity([0])
        order = make_order(target, LoadShape(seconds=seconds), streams, 0, time.monotonic())
        ((_, parts),) = [block async for block in generators.run(order, lambda _: None)]
        figures, _ = pool(order, parts)
    click.echo(
        f"{streams:5} streams  live {figures.achieved_concurrency:7.1f}  late p50 {_ms(figures.late_p50_seconds)}"
        f"  p99 {_ms(figures.late_p99_seconds)}  core {(figures.generator_cpu_ratio or 0) * 100:5.1f} %"
        f"  failed {figures.failed + figures.refused}"
    )


def _ms(seconds: float | None) -> str:
    return "—" if seconds is None else f"{seconds * 1e3:6.2f} ms"


def main() -> None:
    levels = [int(text) for text in sys.argv[1:]] or [100, 300, 500]
    with subprocess.Popen([sys.executable, "-m", "tests.bench.sink", "0"], stdout=subprocess.PIPE, text=True) as sink:
        try:
            assert sink.stdout is not None
            port = int(sink.stdout.readline())
            with suppress(psutil.Error, AttributeError):
                psutil.Process(sink.pid).cpu_affinity([(os.cpu_count() or 1) - 1])
            for streams in levels:
                asyncio.run(measure(port, streams, 20))
        finally:
            sink.terminate()


if __name__ == "__main__":
    main()
