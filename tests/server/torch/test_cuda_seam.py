"""The CUDA side of the seam, against a stand-in for torch.cuda that notes every call: no machine here has a GPU.

The stand-in takes only what torch's own functions take. What a GPU makes of the calls, only a GPU can tell.
"""

import contextlib
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from server.engines.base import UnfitError  # noqa: E402
from server.engines.torch.seam import DECODE, ENCODE, CudaSeam, seam_for  # noqa: E402

REAL = {
    name: inspect.signature(getattr(torch.cuda, name)) for name in ("synchronize", "mem_get_info", "memory_reserved")
}
CAPTURE_BEGIN = inspect.signature(torch.cuda.CUDAGraph.capture_begin)


class FakeCuda:
    """Notes what is done, and on which stream."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = "default"
        self.fails = False

    def graph(self) -> Any:
        outer = self

        class Graph:
            def capture_begin(self, *args: Any, **options: Any) -> None:
                CAPTURE_BEGIN.bind(self, *args, **options)
                assert options["pool"] == f"pool of {outer.current}"
                outer.calls.append(f"begin {outer.current}")

            def capture_end(self) -> None:
                outer.calls.append("end")
                if outer.fails:
                    raise RuntimeError("the capture is void")

            def replay(self) -> None:
                outer.calls.append(f"replay {outer.current}")

        return Graph()

    def stream(self, **options: Any) -> Any:
        return SimpleNamespace(name=DECODE if options["priority"] < 0 else ENCODE)

    @contextlib.contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def event(self, **options: Any) -> Any:
        on = self.current
        return SimpleNamespace(
            record=lambda: self.calls.append(f"record {on}"),
            synchronize=lambda: self.calls.append("wait"),
            query=lambda: True,
        )

    def noted(self, name: str, answer: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            REAL[name].bind(*args, **options)
            self.calls.append(name)
            return answer

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made, pools, empty = FakeCuda(), iter([f"pool of {ENCODE}", f"pool of {DECODE}"]), torch.empty
    for name, value in {
        "set_device": lambda index: made.calls.append(f"device {index}"),
        "graph_pool_handle": pools.__next__,
        "Stream": made.stream,
        "stream": made.use,
        "Event": made.event,
        "CUDAGraph": made.graph,
        "synchronize": made.noted("synchronize", None),
        "mem_get_info": made.noted("mem_get_info", (3, 10)),
        "memory_allocated": lambda device: 4,
        "memory_reserved": made.noted("memory_reserved", 5),
        "empty_cache": lambda: made.calls.append("empty"),
        "current_stream": lambda: SimpleNamespace(wait_event=lambda event: made.calls.append("lane waits")),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def unpinned(*sizes: Any, pin_memory: bool = False, **options: Any) -> Any:
        return empty(*sizes, **options)

    monkeypatch.setattr(torch, "empty", unpinned)
    return made


def test_a_shape_is_rehearsed_captured_once_in_its_lane_and_replayed(fake: FakeCuda) -> None:
    seam, ran, buffer = CudaSeam(1), [], torch.zeros(2)
    assert fake.calls == ["device 1"]
    fake.calls.clear()
    for _ in range(3):
        with seam.lane(ENCODE):
            seam.replay("key", lambda _: ran.append(fake.current), (buffer,), ENCODE)
    assert ran == [ENCODE, ENCODE]
    assert fake.calls == ["synchronize", f"begin {ENCODE}", "end", *[f"replay {ENCODE}"] * 3]
    assert len(seam._held) == 1
    # The same key in the other lane is another shape, with working memory of its own: the two run at the same time.
    with seam.lane(DECODE):
        seam.replay("key", lambda _: None, (buffer,), DECODE)
    assert f"begin {DECODE}" in fake.calls
    assert len(seam._held) == 2


def test_what_fails_in_a_capture_is_what_is_told_and_the_shape_is_not_held(fake: FakeCuda) -> None:
    seam, buffer = CudaSeam(0), torch.zeros(2)
    runs = iter([None, torch.OutOfMemoryError("out of memory")])

    def work(_: Any) -> None:
        if (error := next(runs)) is not None:
            fake.fails = True
            raise error

    with seam.lane(DECODE), pytest.raises(torch.OutOfMemoryError):
        seam.replay("key", work, (buffer,))
    assert len(seam._held) == 0


def test_copies_go_by_pinned_memory_and_what_is_read_is_waited_for(fake: FakeCuda) -> None:
    seam, target = CudaSeam(0), torch.zeros(3, dtype=torch.int64)
    with seam.lane(DECODE):
        seam.upload(target, np.array([1, 2, 3]))
        pending = seam.download(target.float())
    assert fake.calls[-1] == f"record {DECODE}"
    assert pending.get().tolist() == [1.0, 2.0, 3.0]
    assert fake.calls[-1] == "wait"


def test_lanes_wait_for_each_other_and_memory_is_both_torchs_and_the_devices(fake: FakeCuda) -> None:
    seam = CudaSeam(0)
    with seam.lane(ENCODE):
        event = seam.mark()
    with seam.lane(DECODE):
        seam.wait(event)
        seam.wait(None)
    assert fake.calls.count("lane waits") == 1
    memory = seam.memory()
    assert (memory.allocated, memory.reserved, memory.free, memory.total) == (4, 5, 3, 10)
    seam.shrink()
    assert fake.calls[-2:] == ["synchronize", "empty"]
    assert seam.alive()


def test_a_device_that_is_lost_is_seen(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    seam = CudaSeam(0)

    def lost(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    assert not seam.alive()


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnfitError, match="finds no CUDA GPU for cuda:3; say --devices cpu"):
        seam_for("cuda:3", 1)
