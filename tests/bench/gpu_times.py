"""How long the torch engine's parts take: T(batch, context) of an encode, an admission, a step."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from server.engines.torch.decoder_slots import PREPARED_PROMPTS
from server.engines.torch.device_runtime import DECODE, ENCODE
from server.engines.torch.torch_engine import TorchEngine
from tests.bench.operations import encoder_flop


class Time(NamedTuple):
    """A part, its size, and the median of its times in seconds."""

    part: str
    rows: int
    context_s: float
    tokens: int
    seconds: float
    flop: float | None = None

    @property
    def tera(self) -> float | None:
        """10¹² operations a second."""
        return None if self.flop is None else self.flop / self.seconds / 1e12


def measured(engine: TorchEngine, batches: list[int], contexts: list[float], until: float) -> Iterator[Time]:
    """Every part in every size; ends early at `until` of the monotonic clock. No row may be in work."""
    slots, shape = engine.slots, engine.shape
    for context_s in contexts:
        frames = round(context_s * 100)
        for rows in (b for b in batches if b <= slots.rows):
            if time.monotonic() > until:
                return
            seconds = _median(engine, partial(slots.encode, _noise(engine, rows, frames)), ENCODE)
            yield Time("encode", rows, context_s, 0, seconds, rows * encoder_flop(shape, context_s))
            for tokens in PREPARED_PROMPTS:
                prompts, given = [[1] * tokens] * rows, [slots.count] * rows
                admit = partial(slots.admit, given, prompts, [True] * rows, frames // 2)
                yield Time("admit", rows, context_s, tokens, _median(engine, admit, DECODE))
        for rows in (b for b in batches if b <= slots.count):
            step = partial(slots.step, rows, 20, frames // 2)
            yield Time("step", rows, context_s, 20, _median(engine, step, DECODE))


def _noise(engine: TorchEngine, rows: int, frames: int) -> Any:
    # On zeros a GPU is faster than it will ever be on speech.
    with torch.inference_mode(), engine.runtime.lane(ENCODE):
        return torch.randn((rows, engine.shape.mels, frames), device=engine.runtime.device, dtype=engine.dtype)


def _median(engine: TorchEngine, work: Callable[[], Any], lane: str, least_s: float = 0.05) -> float:
    """Several runs back to back between two waits, repeated; the median of the mean run."""
    runtime = engine.runtime
    with torch.inference_mode(), runtime.lane(lane):
        work()
        runtime.settle()
        began = time.perf_counter()
        work()
        runtime.settle()
        runs = max(1, min(20, round(least_s / max(1e-6, time.perf_counter() - began))))
        found = []
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(runs):
                work()
            runtime.settle()
            found.append((time.perf_counter() - began) / runs)
    return statistics.median(found)


def law(times: list[Time], context_s: float) -> tuple[float, float] | None:
    """a and b of T(B) = a + b·B for an encode of this context, by least squares; None with fewer than two sizes."""
    points = [(t.rows, t.seconds) for t in times if t.part == "encode" and t.context_s == context_s]
    if len(points) < 2:
        return None
    fit = statistics.linear_regression(*zip(*points, strict=True))
    return fit.intercept, fit.slope


def ceilings(device: Any, dtype: Any) -> dict[str, float]:
    """What the device does at best: a large matrix product in 10¹² operations a second, a copy in bytes a second."""
    cuda = device.type == "cuda"
    n, size = (8192, 1 << 30) if cuda else (1024, 1 << 26)
    wait = torch.cuda.synchronize if cuda else (lambda: None)
    a, b = (torch.randn((n, n), device=device, dtype=dtype) for _ in range(2))
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], Any], runs: int) -> float:
        work()
        wait()
        began = time.perf_counter()
        for _ in range(runs):
            work()
        wait()
        return (time.perf_counter() - began) / runs

    product = best(lambda: torch.matmul(a, b), 10 if cuda else 2)
    copy = best(lambda: target.copy_(source), 10 if cuda else 2)
    return {"matrix_teraflops": 2 * n**3 / product / 1e12, "copy_bytes_per_second": 2 * size / copy}
