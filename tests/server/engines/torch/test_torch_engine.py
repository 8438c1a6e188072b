"""The whole engine on a GPU that is not there: every shape it captures keeps CUDA's rules, and its rows are told.

The stand-in computes nothing, so all texts are the same token; what is shown is that the first real GPU need not find
out which operation a capture refuses.
"""

import threading
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from server.engines.engine import EngineRow, Hypothesis, UnfitError  # noqa: E402
from server.engines.torch import weights  # noqa: E402
from server.engines.torch.cuda_runtime import CudaRuntime  # noqa: E402
from server.engines.torch.decoder_slots import CUDA_BATCHES, PROMPTS, DecoderSlots, Tokens  # noqa: E402
from server.engines.torch.device_runtime import DECODE, ENCODE  # noqa: E402
from server.engines.torch.shapes import PUBLISHED, TEXT_POSITIONS, Shape  # noqa: E402
from server.engines.torch.torch_engine import TorchEngine  # noqa: E402
from server.engines.torch.whisper_model import TorchWhisper  # noqa: E402
from server.worker.scheduler import CONTEXTS_SECONDS  # noqa: E402
from tests.bench import gpu_times  # noqa: E402
from tests.server.engines.torch.cuda_double import FakeCuda, copies  # noqa: E402

META = torch.device("meta")
AT_RANDOM = weights.at_random
TURBO = Shape(mels=128, width=1280, heads=20, encoder_layers=1, decoder_layers=1, vocabulary=51866)
"""As wide as large-v3-turbo: layers are all alike."""
TOKENS = Tokens(50257, 50258, 50362, (1, 2), (220, 50257), (50259, 50260))


class _Nobody:
    """A generator of random numbers that nobody asks for any."""

    def __init__(self, device: Any) -> None: ...

    def manual_seed(self, seed: int) -> None: ...


def _empty(sizes: Any, device: Any, generator: Any, dtype: Any) -> Any:
    return torch.empty(sizes, device=device, dtype=dtype)


def _weights(shape: Shape, dtype: Any) -> weights.Weights:
    """Of sizes alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _Nobody)
        patch.setattr(torch, "randn", _empty)
        return AT_RANDOM(shape, META, dtype)


def _runtime(most_graphs: int = 100_000) -> CudaRuntime:
    runtime = CudaRuntime(0, most_graphs)
    runtime.device = META
    return runtime


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32"])
def test_every_shape_is_captured(fake: FakeCuda, kind: str) -> None:
    runtime, rows = _runtime(), 64
    model = TorchWhisper(_weights(TURBO, getattr(torch, kind)))
    slots = DecoderSlots(model, runtime, TOKENS, 3 * rows, rows)
    assert slots.batches == tuple(b for b in CUDA_BATCHES if b <= 192)
    # All pairs would be a thousand: each size with the usual others.
    batches = [b for b in slots.batches if b <= rows] if kind == "bfloat16" else [1, rows]
    frames = [round(100 * seconds) for seconds in CONTEXTS_SECONDS]
    with copies():
        pairs = {(b, 400) for b in batches} | {(b, f) for b in (1, rows) for f in frames}
        for size, length in sorted(pairs):
            with runtime.lane(ENCODE):
                slots.encode(torch.zeros((size, 128, length), device=META))
                encoded = runtime.mark()
            with runtime.lane(DECODE):
                runtime.wait(encoded)
                slots.languages(size, length // 2)
                for prompt in PROMPTS if (size, length) == (rows, 400) else (4,):
                    told = slots.admit(list(range(size)), [[1] * prompt] * size, [False] * size, length // 2)
                    assert told.get().shape == (3, size)
        steps = slots.batches if kind == "bfloat16" else (1, 3 * rows)
        for size in steps:
            for position, context in ((0, 200), (TEXT_POSITIONS - 1, 1500)):
                with runtime.lane(DECODE):
                    assert slots.step(size, position, context).get().shape == (2, size)
    assert runtime.uncaptured == 0
    assert runtime.graphs == len(pairs) * 3 + len(PROMPTS) - 1 + 2 * len(steps)
    assert not fake.broken


def _engine(monkeypatch: pytest.MonkeyPatch, max_batch: int = 8, most_graphs: int = 100_000) -> TorchEngine:
    monkeypatch.setattr(weights, "at_random", lambda shape, device, dtype: _weights(TURBO, dtype))
    monkeypatch.setattr("server.engines.torch.decoder_slots.PREPARED_PROMPTS", (4,))
    return TorchEngine("random:large-v3-turbo", "cuda:0", "default", max_batch, 1, _runtime(most_graphs))


def _row(seconds: float, context_s: float = 4.0, **given: Any) -> EngineRow:
    return EngineRow(np.zeros(round(16000 * seconds), np.float32), context_s, **given)


def test_the_engine_loads_decodes_and_ends_and_everything_it_runs_is_captured(
    fake: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(monkeypatch)
    info = engine.load()
    assert info.compute_type == "bfloat16"
    assert "slots of" in info.details["memory"]
    ready = engine.runtime.graphs
    rows = [_row(1.0 + i / 4, stream=i, prefix="said before" if i % 2 else "") for i in range(8)]
    heard: dict[int, Any] = {}
    over = threading.Semaphore(0)

    def done(place: int, found: Any) -> None:
        heard[place] = found
        over.release()

    # Two batches at once, of different windows.
    engine.start(rows[:5], done)
    engine.start([_row(3.0, 6.0)] * 3, lambda place, found: done(place + 5, found))
    for _ in range(8):
        assert over.acquire(timeout=60)
    engine.close()
    assert all(isinstance(found, Hypothesis) for found in heard.values()), heard
    assert engine.runtime.uncaptured == 0
    # Only prompts longer than those that were thought of needed a shape of their own.
    assert engine.runtime.graphs <= ready + 6
    assert not fake.broken
    # The engine's own thread made the device its own, or its pinned memory would be another card's.
    assert fake.calls.count("device 0") == 2
    assert engine.reserved_bytes() == fake.reserved


def test_with_room_for_few_graphs_old_ones_go_and_all_rows_are_told(
    fake: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(monkeypatch, max_batch=2, most_graphs=4)
    engine.load()
    for context_s in (4.0, 6.0, 8.0, 4.0):
        assert len(engine.decode([_row(2.0, context_s), _row(1.0, context_s)])) == 2
        engine.runtime.shrink()
    engine.close()
    assert engine.runtime.uncaptured == 0
    assert not fake.broken


def test_the_bench_measures_every_part_by_its_graphs(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(monkeypatch)
    engine.load()
    monkeypatch.setattr(torch, "randn", torch.empty)
    replays = len([call for call in fake.calls if call.startswith("replay")])
    times = list(gpu_times.measured(engine, [1, 8], [4.0, 30.0], float("inf")))
    engine.close()
    assert {time.part for time in times} == {"encode", "admit", "step"}
    assert len([call for call in fake.calls if call.startswith("replay")]) > replays + 3 * len(times)
    assert engine.runtime.uncaptured == 0
    assert not fake.broken


def test_times_of_words_are_made_outside_of_any_capture(fake: FakeCuda) -> None:
    runtime = _runtime()
    slots = DecoderSlots(TorchWhisper(_weights(TURBO, torch.bfloat16)), runtime, TOKENS, 4, 2)
    with copies(), runtime.lane(DECODE):
        chances, attention = slots.aligned(1, [50258, 5, 6, 50257], 200)
    assert chances.get().shape == (4,)
    assert attention.get().shape[1:] == (4, 200)
    assert runtime.graphs == 0


@pytest.mark.parametrize(("free", "needs"), [(1.2e9, "smaller model"), (6e9, "--max-batch")])
def test_what_does_not_fit_is_refused_before_anything_is_read(
    fake: FakeCuda, monkeypatch: pytest.MonkeyPatch, free: float, needs: str
) -> None:
    fake.free, fake.allocated, fake.reserved = free, 0.0, 0.0
    engine = _engine(monkeypatch, max_batch=64)
    monkeypatch.setattr(weights, "at_random", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UnfitError, match=rf"cuda:0 has {free / 1e9:.1f} GB free; give (a )?{needs}"):
        engine.load()


def test_what_torch_holds_without_a_use_is_as_good_as_free(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.free, fake.allocated, fake.reserved = 1e9, 1e9, 40e9
    engine = _engine(monkeypatch)
    engine.load()
    engine.close()


def test_memory_that_runs_out_while_it_loads_is_a_sentence(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(monkeypatch)

    def another_took_it(*_: Any) -> Any:
        fake.free = 2e9
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(weights, "at_random", another_took_it)
    with pytest.raises(UnfitError, match=r"cuda:0 ran out of memory .*\(2\.0 GB of 140 GB are free\)"):
        engine.load()


def test_a_model_has_as_many_numbers_as_was_planned_for() -> None:
    for shape in (TURBO, PUBLISHED["tiny"]):
        unique = {id(tensor): tensor for tensor in _weights(shape, torch.bfloat16).tensors.values()}
        assert shape.parameters == sum(tensor.numel() for tensor in unique.values())
    # As it is published: 809 million.
    assert 800e6 < PUBLISHED["large-v3-turbo"].parameters < 815e6
