"""`CudaRuntime` against a stand-in for torch.cuda that keeps its rules, since CI has no GPU.

The stand-in takes only what torch's own functions take. What a GPU makes of the calls, only a GPU can tell.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from server.engines.engine import UnfitError  # noqa: E402
from server.engines.torch.cuda_runtime import CudaRuntime  # noqa: E402
from server.engines.torch.device_runtime import DECODE, ENCODE  # noqa: E402
from server.engines.torch.torch_engine import runtime_for  # noqa: E402
from tests.server.engines.torch.cuda_double import FakeCuda  # noqa: E402


def test_a_shape_is_rehearsed_captured_once_in_its_lane_and_replayed(fake: FakeCuda) -> None:
    runtime, ran, buffer = CudaRuntime(1), [], torch.zeros(2)
    assert fake.calls == ["device 1"]
    fake.calls.clear()
    for _ in range(3):
        with runtime.lane(ENCODE):
            runtime.replay("key", lambda _: ran.append(fake.current), (buffer,), ENCODE)
    assert ran == [ENCODE, ENCODE]
    assert fake.calls == ["synchronize", f"begin {ENCODE}", "end", *[f"replay {ENCODE}"] * 3]
    assert runtime.graphs == 1
    # The same key in the other lane is another shape, with working memory of its own: the two run at the same time.
    with runtime.lane(DECODE):
        runtime.replay("key", lambda _: None, (buffer,), DECODE)
    assert f"begin {DECODE}" in fake.calls
    assert runtime.graphs == 2


def _held(runtime: CudaRuntime, fake: FakeCuda, lane: str = DECODE) -> None:
    """A shape more is captured and replayed."""
    before = runtime.graphs
    with runtime.lane(lane):
        runtime.replay(object(), lambda x: x.add_(1), (torch.zeros(2, device="meta"),), lane)
    assert runtime.graphs == before + 1
    assert not fake.broken
    assert not fake.recording


ILLEGAL: dict[str, Callable[[Any], Any]] = {
    "a number is read": lambda x: x.sum().item(),
    "a tensor is read": lambda x: x.cpu(),
    "a branch on a value": lambda x: x.add_(1) if x.sum() > 0 else None,
    "places of values": lambda x: x.nonzero(),
    "a selection by a mask": lambda x: x[x > 0],
    "an assignment by a mask": lambda x: x.__setitem__(x > 0, torch.zeros((), device="meta")),
    "different values": lambda x: x.unique(),
    "a tensor of the host": lambda x: x.add_(torch.ones(3)),
    "a tensor made of a list": lambda x: x.add_(torch.tensor([1.0, 2.0, 3.0]).to("meta")),
    "waiting": lambda _: torch.cuda.synchronize(),
    "waiting for an event": lambda _: torch.cuda.Event(blocking=True).synchronize(),
    "asking an event": lambda _: torch.cuda.Event(blocking=True).query(),
    "giving memory back": lambda _: torch.cuda.empty_cache(),
    "pinning memory": lambda _: torch.empty(3, pin_memory=True),
}


@pytest.mark.parametrize("act", ILLEGAL)
def test_what_a_capture_may_not_do_voids_it_and_that_shape_runs_without(
    fake: FakeCuda, act: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The stand-in refuses it as CUDA does; the lane and the memory's owner go on."""
    runtime, buffer, ran = CudaRuntime(0), torch.zeros(3, device="meta"), []

    def work(x: Any) -> None:
        ran.append(fake.capturing is not None)
        if fake.capturing is not None:
            ILLEGAL[act](x)

    _held(runtime, fake)
    for _ in range(3):
        with runtime.lane(DECODE):
            runtime.replay("key", work, (buffer,))
    # Rehearsed, tried once, and run step by step from then on.
    assert ran == [False, True, False, False]
    assert runtime.uncaptured == 1
    assert "cannot be captured and runs operation by operation" in caplog.text
    _held(runtime, fake)
    runtime.shrink()
    _held(runtime, fake)
    assert runtime.uncaptured == 1


def test_the_first_capture_of_a_lane_may_fail(fake: FakeCuda) -> None:
    runtime = CudaRuntime(0)

    def work(x: Any) -> None:
        if fake.capturing is not None:
            raise RuntimeError("no kernel image is available")

    with runtime.lane(DECODE):
        runtime.replay("key", work, (torch.zeros(3, device="meta"),))
    assert (runtime.graphs, runtime.uncaptured) == (0, 1)
    _held(runtime, fake)
    _held(runtime, fake, ENCODE)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
@pytest.mark.parametrize("times", [1, 2])
def test_without_memory_for_a_graph_it_is_tried_again_with_all_there_is_and_then_runs_without(
    fake: FakeCuda, error: Exception, times: int
) -> None:
    runtime, buffer, ran, left = CudaRuntime(0), torch.zeros(3, device="meta"), [], [times]

    def work(_: Any) -> None:
        ran.append(fake.capturing is not None)
        if fake.capturing is not None and left[0]:
            left[0] -= 1
            raise error

    with runtime.lane(DECODE):
        runtime.replay("key", work, (buffer,))
    assert fake.calls.count("empty_cache") == 1
    assert ran == [False, True, True]
    assert runtime.graphs == (times == 1)
    assert runtime.uncaptured == (times == 2)
    _held(runtime, fake)
    # With room again it is tried again.
    runtime.shrink()
    assert runtime.uncaptured == 0
    with runtime.lane(DECODE):
        runtime.replay("key", work, (buffer,))
    assert runtime.graphs == 1


def test_what_fails_before_a_capture_is_told(fake: FakeCuda) -> None:
    runtime = CudaRuntime(0)

    def work(_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with runtime.lane(DECODE), pytest.raises(torch.OutOfMemoryError):
        runtime.replay("key", work, (torch.zeros(2),))
    assert (runtime.graphs, runtime.uncaptured) == (0, 0)


def test_a_graph_that_makes_room_for_another_is_not_running(fake: FakeCuda) -> None:
    runtime, buffer = CudaRuntime(0, most_graphs=3), torch.zeros(3, device="meta")
    for number in range(9):
        lane = (ENCODE, DECODE)[number % 2]
        with runtime.lane(lane):
            for _ in range(2):
                runtime.replay(number, lambda x: x.add_(1), (buffer,), lane)
    # A lane whose last graph has gone begins with memory of its own, too.
    for number in range(9, 14):
        with runtime.lane(ENCODE):
            runtime.replay(number, lambda x: x.add_(1), (buffer,), ENCODE)
    with runtime.lane(DECODE):
        runtime.replay("again", lambda x: x.add_(1), (buffer,))
    assert runtime.graphs == 3
    assert not fake.broken


def test_the_stand_in_sees_what_a_gpu_would_not_tell(fake: FakeCuda) -> None:
    runtime, buffer, kept = CudaRuntime(0), torch.zeros(3, device="meta"), []
    with runtime.lane(DECODE):
        runtime.replay("leaves", lambda x: kept.append(x + 1), (buffer,))
    assert fake.broken == ["1 tensors of a capture outlive it"]
    fake.broken.clear()
    passing = [torch.ones(3, device="meta")]
    with runtime.lane(DECODE):
        runtime.replay("reads", lambda x: x.add_(passing[0]), (buffer,))
        assert not fake.broken
        passing.clear()
        runtime.replay("reads", lambda x: x, (buffer,))
    assert fake.broken == ["a graph reads memory that is gone"]


def test_copies_go_by_pinned_memory_and_what_is_read_is_waited_for(fake: FakeCuda) -> None:
    runtime, target = CudaRuntime(0), torch.zeros(3, dtype=torch.int64)
    with runtime.lane(DECODE):
        runtime.upload(target, np.array([1, 2, 3]))
        pending = runtime.download(target.float())
    assert fake.calls[-1] == f"record {DECODE}"
    assert pending.get().tolist() == [1.0, 2.0, 3.0]
    assert fake.calls[-1] == "wait"


def test_lanes_wait_for_each_other_and_memory_is_both_torchs_and_the_devices(fake: FakeCuda) -> None:
    runtime = CudaRuntime(0)
    with runtime.lane(ENCODE):
        event = runtime.mark()
    with runtime.lane(DECODE):
        runtime.wait(event)
        runtime.wait(None)
    assert fake.calls.count("lane waits") == 1
    fake.free, fake.total = 3, 10
    memory = runtime.memory()
    assert (memory.allocated, memory.reserved, memory.free, memory.total) == (4, 5, 3, 10)
    assert memory.available == 4
    runtime.shrink()
    assert fake.calls[-2:] == ["synchronize", "empty_cache"]
    assert runtime.alive()


def test_a_device_that_is_lost_is_seen(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = CudaRuntime(0)

    def lost(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    assert not runtime.alive()


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnfitError, match="finds no CUDA GPU for cuda:3; give --devices cpu"):
        runtime_for("cuda:3", 1)
