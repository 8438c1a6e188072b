"""`make bench-gpu`: the server's promises with CUDA, and a recording of real NVML readings for tests to replay.

Needs an NVIDIA GPU; without one it says so and leaves with exit code 2. The recording is printed as JSON on stdout.
"""

import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

from server import devices
from tests.bench import bench_server
from whisper_ops.telemetry.nvml import Nvml

READINGS = 10


def main() -> int:
    """Run every part on the first GPU."""
    if devices.parse("auto")[0].kind != "cuda":
        click.echo("bench-gpu: CTranslate2 finds no CUDA device on this machine", err=True)
        return 2
    bench_server.ARGUMENTS = ("--devices", "cuda:0")
    bench_server.LEVELS = "32,64,128,256"
    nvml, kept = Nvml(), True
    recorded = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("throughput", "full", "faults"):
            for figure in bench_server.PARTS[name](Path(folder)):
                click.echo(str(figure), err=True)
                kept &= figure.kept
    for _ in range(READINGS):
        recorded.append(nvml.read())
        time.sleep(0.5)
    click.echo(msgspec.json.encode(recorded).decode())
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
