"""Simulated servers whose limit is known: their polls in production and their sweeps, as a history would hold them."""

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from tests.capacity.plan_history import level, written
from whisper_ops.history import History
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

SERVER = "asr-1:8000"
IDENTITY = Identity(
    software="whisper-ops", version="1.2.0", engine="ctranslate2", model="large-v3-turbo", compute_type="float16",
    max_batch=16, gpu_name="H100 80GB",
)  # fmt: skip


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """A server: lag grows as `base · (1 + growth · u^power / (1 − u))` with u = N / limit; busy time as N / limit."""

    limit: float
    base: float
    growth: float
    power: float
    noise: float = 0.04
    busy: bool = True
    """Whether the server tells its busy time; without it only lag can show the limit."""
    batching: bool = False
    """Whether batches fill up first, so that busy time bends."""
    memory_limit: float | None = None
    """Connections that fill the GPU's memory."""

    def lag(self, n: float) -> float:
        used = n / self.limit
        if used >= 0.999:
            return 30.0
        return min(self.base * (1 + self.growth * float(used**self.power) / (1 - used)), 30.0)

    @property
    def capacity(self) -> float:
        """Connections with a lag of 2 s, or a full memory."""
        low, high = 0.0, self.limit
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.lag(middle) < 2 else (low, middle)
        return min(low, self.memory_limit or math.inf)


def truths() -> list[Truth]:
    """Twenty servers: few and many streams, slow and sharp cliffs, with and without busy time, some bound by memory."""
    random = np.random.default_rng(20)
    made = []
    for number in range(20):
        limit = float(np.exp(random.uniform(np.log(24), np.log(240))))
        made.append(
            Truth(
                limit=limit,
                base=float(random.uniform(0.15, 0.5)),
                growth=float(random.uniform(0.1, 0.8)),
                power=float(random.choice([1, 2, 4])),
                busy=number % 4 != 3,
                batching=number % 10 == 8,
                memory_limit=0.8 * limit if number % 5 == 4 else None,
            )
        )
    return made


def polls(
    truth: Truth, most: float, count: int = 900, since: float = 0.0, identity: Identity = IDENTITY, seed: int = 1
) -> Iterator[Snapshot]:
    """Production of a few hours: the load wanders between 1 and `most`, a poll every 10 s, now and then a wild one."""
    random = np.random.default_rng(seed)
    load = most / 2
    for number in range(count):
        load = float(np.clip(load + random.normal(0, most / 12), 1, most))
        n = round(load)
        wild = 8.0 if random.random() < 0.01 else 1.0
        lag = truth.lag(n) * float(np.exp(random.normal(0, truth.noise))) * wild
        used = n / truth.limit
        share = used * 2 / (1 + used) if truth.batching else used
        busy = float(np.clip(0.02 + 0.98 * share + random.normal(0, 0.01), 0, 1))
        cap = 80e9
        slope = (cap * 0.95 - 10e9) / (truth.memory_limit or 10 * truth.limit)
        yield Snapshot(
            server=SERVER,
            at=since + 10.0 * number,
            identity=identity,
            figures=ServerFigures(streams_active=n, slots=10**6, slots_used=n, lag_p95_seconds=lag, gpus=1),
            gpus=(
                GpuFigures(
                    gpu_id=0, name="H100 80GB", streams_active=n, memory_total_bytes=cap,
                    memory_used_bytes=10e9 + slope * n * (1 + random.normal(0, 0.002)),
                    busy_ratio=busy if truth.busy else None, lag_p95_seconds=lag,
                ),
            ),
            host=HostFigures(front_cpu_ratio=0.02 + 0.001 * n, memory_total_bytes=64e9, process_rss_bytes=1e9),
        )  # fmt: skip


def write_polls(path: Path, truth: Truth, most: float, **more: object) -> Path:
    with History.writing(path) as history:
        history.polls.add(polls(truth, most, **more))  # type: ignore[arg-type]  # the test's own names
    return path


def write_sweep(path: Path, truth: Truth) -> Path:
    """A search: levels around the limit, none exactly at it, and low ones for the laws."""
    at = truth.capacity
    loads = sorted({max(1, round(at * share)) for share in (0.1, 0.25, 0.5, 0.75, 0.93, 0.98, 1.03, 1.15)})
    random = np.random.default_rng(2)
    levels = []
    for n in loads:
        full = truth.memory_limit is not None and n > truth.memory_limit
        lag = truth.lag(n) * float(np.exp(random.normal(0, 0.02)))
        levels.append(level(n, lag <= 2 and not full, stable_p95_seconds=lag, started_at=1e6 + n))
    return written(path, levels, server=f"http://{SERVER}")


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """A server that decodes every stream once a second if it can, in batches: a step of B rows takes `a + b·B`."""

    a: float
    b: float
    most: int

    def run(self, n: int, seconds: float, seed: int = 0) -> tuple[float, float, float, float]:
        """Simulate `n` streams: (lag p95 of a stream, busy share, mean rows a step, p95 of the step time)."""
        random = np.random.default_rng(seed)
        due, covered = random.uniform(0, 1, n), np.zeros(n)
        now, busy, look = 0.0, 0.0, 1.0
        rows: list[int] = []
        lags: list[np.ndarray] = []
        while now < seconds:
            begins = max(now, float(due.min()))
            ready = np.flatnonzero(due <= begins)
            batch = ready[np.argsort(due[ready])[: self.most]]
            ends = begins + self.a + self.b * len(batch)
            while look < ends:  # every second somebody looks how far behind each stream is
                lags.append(look - covered)
                look += 1
            covered[batch] = begins
            due[batch] = np.maximum(due[batch] + 1, ends)
            rows.append(len(batch))
            now, busy = ends, busy + ends - begins
        steps = self.a + self.b * np.array(rows)
        late = np.concatenate(lags[len(lags) // 4 :])
        return (
            float(np.quantile(late, 0.95)),
            min(busy / now, 1.0),
            float(np.mean(rows)),
            float(np.quantile(steps, 0.95)),
        )

    @property
    def capacity(self) -> float:
        """Streams with a lag of 2 s, found by running it."""
        around = 2 * self.most / (self.a + self.b * self.most)
        loads = sorted({round(around * share) for share in (0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1)})
        return float(np.interp(2.0, [self.run(n, 20)[0] for n in loads], loads))

    def polls(self, most: float) -> Iterator[Snapshot]:
        """What a recorder sees at loads of up to `most`."""
        identity = msgspec.structs.replace(IDENTITY, max_batch=self.most)
        at = 0.0
        for n in sorted({max(1, round(most * share / 12)) for share in range(1, 13)}):
            for seed in range(4):
                lag, busy, fill, step = self.run(n, 10, seed)
                at += 10.0
                yield Snapshot(
                    server=SERVER,
                    at=at,
                    identity=identity,
                    figures=ServerFigures(streams_active=n, lag_p95_seconds=lag, gpus=1),
                    gpus=(
                        GpuFigures(
                            gpu_id=0, streams_active=n, busy_ratio=busy, batch_fill_mean=fill,
                            compute_p95_seconds=step, lag_p95_seconds=lag,
                        ),
                    ),
                )  # fmt: skip
