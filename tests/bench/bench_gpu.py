"""`make bench-gpu`: how many live streams a GPU carries with the torch engine, what each part takes, what it costs.

Needs Python, torch, numpy and msgspec (a wheel of half a megabyte); everything else is used where it is there: NVML
(nvidia-ml-py) for power, CTranslate2 to stand beside. On a bare machine, in a clean checkout:

    python3 -m tests.bench.bench_gpu --seconds 480 FILE      # or 60

Without `--model`, weights are random in the shape of large-v3-turbo (on a CPU: of tiny), and the talk is noise: right
for speed, and it says nothing of accuracy. With a folder of real weights, name speech too (`--speech`, a folder of
16-bit wavs at 16 kHz); where CTranslate2 is installed it is then measured on the same folder.
Results go to FILE as JSON: every level with the GPU's readings, every time; and, where whisper-ops is installed, to a
history of the same name, FILE.db, for `whisper-ops plan`.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from server.engines.torch.torch_engine import TorchEngine
from tests.bench import gpu_streams, gpu_times
from tests.bench.figure import Figure
from tests.bench.gpu_meter import Gpu, narrate, say
from tests.bench.gpu_streams import Front, Level
from tests.bench.gpu_times import Time

CADENCE_SECONDS = 1.0
GOAL_STREAMS, GOAL_TIMES = 560, 3.0
_SETTLE = {"short": 2.0, "full": 5.0}


def main(arguments: list[str]) -> int:
    """Run every part; 0 when it ran to its end, whatever it found, 2 when it cannot run."""
    asked = _asked(arguments)
    began = time.monotonic()
    try:
        answer, figures = _run(asked, began + asked.seconds)
    except (RuntimeError, ModuleNotFoundError) as error:
        narrate(f"bench-gpu: {error}")
        return 2
    for figure in figures:
        say(figure)
    say(f"  it took {time.monotonic() - began:.0f} s")
    if asked.file:
        asked.file.write_text(json.dumps(answer, indent=1) + "\n")
        say(_history(answer, asked.file))
    return 0


def _history(answer: dict[str, Any], file: Path) -> str:
    """The same as a history for `plan`, where there is more than torch; what to do where there is not."""
    history = file.with_suffix(".db")
    try:
        import sqlite_utils  # noqa: F401  # what a history is written with; before a file is made

        from tests.bench import gpu_history

        levels = gpu_history.write(answer, history)
    except ModuleNotFoundError:
        return f"  for a plan, where whisper-ops is installed: python3 -m tests.bench.gpu_history {file} {history}"
    return f"  {levels} levels in {history}: whisper-ops plan --history {history}"


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", help="random:NAME, or a folder")
    parser.add_argument("--speech", type=Path, help="a folder of wavs, for real weights")
    parser.add_argument("--compute-type", default="default")
    parser.add_argument("--max-batch", type=int)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--start", type=int, help="streams of the first level")
    asked = parser.parse_args(arguments)
    cuda = asked.device.startswith("cuda")
    asked.model = asked.model or ("random:large-v3-turbo" if cuda else "random:tiny")
    asked.max_batch = asked.max_batch or (64 if cuda else 4)
    asked.start = asked.start or (100 if cuda else 2)
    asked.short = asked.seconds < 180
    return asked


def _run(asked: argparse.Namespace, until: float) -> tuple[dict[str, Any], list[Figure]]:
    cuda = asked.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise RuntimeError(
            f"torch {torch.__version__} finds no CUDA GPU for {asked.device}; say --device cpu to try it"
        )
    gpu = Gpu(int(asked.device.partition(":")[2] or 0) if cuda else None)
    name = torch.cuda.get_device_name(asked.device) if cuda else "CPU"
    if not cuda:
        say("bench-gpu: no GPU is used: the figures are this CPU's, and only show that every part runs")
    if gpu.why_not and cuda:
        say(f"bench-gpu: {gpu.why_not}; power and energy are not known")
    say(f"bench-gpu: {asked.model} on {name}, torch {torch.__version__}, {asked.seconds:.0f} s")
    times, ceilings, memory, graphs = _parts(asked, until - 0.7 * asked.seconds)
    levels = asyncio.run(_streams(asked, gpu, until))
    answer = {
        "device": name,
        "torch": torch.__version__,
        "model": asked.model,
        "max_batch": asked.max_batch,
        "cadence_seconds": CADENCE_SECONDS,
        "talk": asked.speech.name if asked.speech else "noise",
        "graphs": graphs,
        "ceilings": ceilings,
        "memory": memory,
        "times": [t._asdict() for t in times],
        "levels": [level.row() for level in levels],
        "nvml": [
            {"engine": level.engine, "streams": level.streams, **reading}
            for level in levels
            for reading in level.readings
        ],
    }
    return answer, [*_of_times(times, ceilings), *_of_levels(levels, cuda=cuda)]


# --- what each part takes ---------------------------------------------------------------------------


def _parts(asked: argparse.Namespace, until: float) -> tuple[list[Time], dict[str, float], str, dict[str, int]]:
    engine = TorchEngine(asked.model, asked.device, asked.compute_type, asked.max_batch, 2, prepared=False)
    memory = engine.load().details["memory"]
    say(f"bench-gpu: {memory}")
    ceilings = gpu_times.ceilings(engine.runtime.device, engine.dtype)
    batches = [1, 2, 4] if asked.max_batch < 16 else [1, 8, 16, 32, 64] if not asked.short else [8, 64]
    contexts = [4.0, 6.0, 8.0] if asked.short else [4.0, 6.0, 8.0, 15.0, 30.0]
    times = []
    for found in gpu_times.measured(engine, batches, contexts, until):
        times.append(found)
        narrate(f"  {_time(found)}")
    graphs = {"captured": engine.runtime.graphs, "uncaptured": engine.runtime.uncaptured}
    say(f"bench-gpu: {graphs['captured']} shapes are captured, {graphs['uncaptured']} could not be")
    engine.close()
    del engine
    # The worker that comes next needs the memory; the engine and its thread name each other.
    gc.collect()
    if asked.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return times, ceilings, memory, graphs


def _time(found: Time) -> str:
    size = f"{found.rows} rows, {found.context_s:g} s" + (f", {found.tokens} tokens" if found.tokens else "")
    rate = f", {found.tera:.0f} TFLOP/s" if found.tera is not None and found.tera >= 10 else ""
    return f"{found.part} {size}: {1000 * found.seconds:.2f} ms{rate}"


def _of_times(times: list[Time], ceilings: dict[str, float]) -> Iterator[Figure]:
    yield Figure("matrix product, 10¹² operations a second", ceilings["matrix_teraflops"], "TFLOP/s")
    yield Figure("copy within the device", ceilings["copy_bytes_per_second"] / 1e9, "GB/s")
    for context_s in sorted({t.context_s for t in times}):
        fit = gpu_times.law(times, context_s)
        if fit is not None:
            a, b = fit
            yield Figure(
                f"encode of B rows of {context_s:g} s: T(B) = {1000 * a:.2f} + {1000 * b:.3f}·B", 1000 * b, "ms/row"
            )
        best = max((t for t in times if t.part == "encode" and t.context_s == context_s), key=lambda t: t.tera or 0)
        share = 100 * (best.tera or 0) / ceilings["matrix_teraflops"]
        at = f"encode of {best.rows} rows of {context_s:g} s"
        yield Figure(f"{at}: share of the matrix product's rate", share, "%")
        yield Figure(f"{at}: windows a second, if nothing else ran", best.rows / best.seconds, "/s")
    for found in times:
        if found.part != "encode" and found.rows in (1, max(t.rows for t in times)):
            yield Figure(_time(found).split(":")[0], 1000 * found.seconds, "ms")


# --- streams ----------------------------------------------------------------------------------------


async def _streams(asked: argparse.Namespace, gpu: Gpu, until: float) -> list[Level]:
    track = _speech(asked.speech) if asked.speech else gpu_streams.talk()
    engines = ["torch", *(["ctranslate2"] if _stands_beside(asked) else [])]
    levels: list[Level] = []
    for left, engine in zip(range(len(engines), 0, -1), engines, strict=True):
        share = time.monotonic() + (until - time.monotonic()) / left
        try:
            levels += await _of_engine(asked, engine, track, gpu, share)
        except RuntimeError as error:
            if engine == "torch":
                raise
            say(f"bench-gpu: {engine} does not run here: {error}")
    return levels


def _stands_beside(asked: argparse.Namespace) -> bool:
    if asked.model.startswith("random:"):
        say("bench-gpu: CTranslate2 does not stand beside it: it has no random weights; name a folder with --model")
        return False
    try:
        import ctranslate2  # noqa: F401
    except ModuleNotFoundError:
        say("bench-gpu: CTranslate2 does not stand beside it: it is not installed")
        return False
    return (Path(asked.model) / "model.bin").is_file()


async def _of_engine(asked: argparse.Namespace, engine: str, track: bytes, gpu: Gpu, until: float) -> list[Level]:
    from server import ipc

    cpu = asked.device == "cpu"
    start = ipc.Start(
        engine=engine,
        device=asked.device,
        model_path=asked.model,
        compute_type=asked.compute_type,
        max_batch=asked.max_batch,
        lanes=2 if engine == "torch" or cpu else 1,
        threads=2 if engine == "torch" and cpu else 1,
        min_context_s=0.0,
        law={},
        # Silero's detector knows noise for what it is; docs/server.md has what it costs beside this.
        vad="level",
        cadence_s=CADENCE_SECONDS,
    )
    length = 5.0 if asked.short else 12.0
    async with Front(start, track) as front:
        # A machine that is busy loads slowly; what was asked for is a figure.
        said = await front.loaded(max(60.0, until - time.monotonic() - length))
        narrate(f"bench-gpu: {engine} {said.compute_type} loaded in {said.load_s:.1f} s")
        settle = _SETTLE["short" if asked.short else "full"]
        return await gpu_streams.search(
            front, engine, asked.start, until, gpu, settle_s=settle, seconds=length, cadence_s=CADENCE_SECONDS
        )


def _speech(folder: Path) -> bytes:
    parts = []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path), "rb") as file:
            if (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1):
                parts += [file.readframes(file.getnframes()), bytes(2 * 12800)]
    if not parts:
        raise RuntimeError(f"{folder} holds no 16-bit wavs at 16 kHz, of one channel")
    return b"".join(parts)


def _of_levels(levels: list[Level], *, cuda: bool) -> Iterator[Figure]:
    best: dict[str, int] = {}
    for level in levels:
        best[level.engine] = max(best.get(level.engine, 0), level.streams if level.held else 0)
    for engine, streams in best.items():
        goal = GOAL_STREAMS if cuda and engine == "torch" else None
        yield Figure(f"{engine}: live streams at p95 lag ≤ 2 s, a text a second", streams, "", goal, at_least=True)
    if best.get("ctranslate2"):
        times = best["torch"] / best["ctranslate2"]
        yield Figure("… times CTranslate2's", times, "", GOAL_TIMES if cuda else None, at_least=True)
    top = max((level for level in levels if level.held), key=lambda level: level.streams, default=None)
    if top is None:
        return
    for what, value, unit in (
        ("p95 lag", top.lag_p95, "s"),
        ("GPU busy, by NVML", top.gpu_percent, "%"),
        ("share of time with a batch in work", top.busy_ratio, ""),
        ("worker: cores", top.worker_cores, ""),
        ("worker: its event loop's core", top.loop_cores, ""),
        ("front in the bench: cores", top.front_cores, ""),
        ("sending: p99 late", top.late_p99, "s"),
        ("power", top.power_watts, "W"),
        ("share of the card's limit", top.power_share, ""),
        ("joules an audio hour", top.joules_per_audio_hour, "J"),
    ):
        if value is None:
            say(f"  at {top.streams} streams, {what}: not known here")
        else:
            yield Figure(f"at {top.streams} streams, {what}", value, unit)
    fit = gpu_streams.memory_law([level for level in levels if level.engine == "torch"])
    if fit is not None:
        yield Figure("memory held: base", fit[0] / 1e9, "GB")
        yield Figure("memory held: a stream more", fit[1] / 1e6, "MB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
