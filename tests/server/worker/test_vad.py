"""Silero's network for many streams at once: what each hears is what it hears alone, and what ONNX Runtime computes."""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server import ipc
from server.audio_formats import Samples
from server.engines.engine import UnfitError
from server.worker import silero
from server.worker.batched_vad import GATHER_SECONDS, BatchedVad
from server.worker.onnx_weights import read_weights
from server.worker.process import Worker
from server.worker.silero import FRAME
from server.worker.stream import Stream
from server.worker.vad import LevelVad, SileroVad, judge
from tests.server.virtual import VirtualLoop

_SPEC = importlib.util.find_spec("faster_whisper")
FILE = Path((_SPEC.submodule_search_locations or [""])[0] if _SPEC else "") / "assets" / "silero_vad_v6.onnx"


def _reference() -> Callable[[Samples], list[float]]:
    """A stream's detector as ONNX Runtime runs it, its state carried along."""
    session = onnxruntime.InferenceSession(str(FILE), providers=["CPUExecutionProvider"])
    state = {"h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    before = np.zeros(64, np.float32)

    def hear(samples: Samples) -> list[float]:
        nonlocal before
        line = np.concatenate((before, samples))
        frames = np.lib.stride_tricks.sliding_window_view(line, 576)[::FRAME]
        out, state["h"], state["c"] = session.run(None, {"input": frames, **state})
        before = line[-64:]
        return [float(p) for p in np.ravel(out)]

    return hear


def _sound(seed: int, frames: int) -> Samples:
    """Something like a voice: a buzz of changing pitch with breaks; loud and quiet."""
    rng, n = np.random.default_rng(seed), frames * FRAME
    pitch = 100 + 60 * np.sin(np.arange(n) * 2 * np.pi / 16000 * rng.uniform(0.5, 3))
    buzz = sum(np.sin(k * np.cumsum(pitch) * 2 * np.pi / 16000) / k for k in range(1, 20))
    loud = np.repeat(rng.choice([0.02, 0.2, 0.6], frames), FRAME)
    return (0.3 * loud * buzz + rng.normal(0, 0.003, n)).astype(np.float32)


@pytest.mark.parametrize("steps", [(3,), (6, 3, 1, 3), (1,)])
def test_streams_side_by_side_hear_what_onnx_runtime_hears_in_each(steps: tuple[int, ...]) -> None:
    sounds = [_sound(seed, 36) for seed in range(5)]
    vads, references = [SileroVad() for _ in sounds], [_reference() for _ in sounds]
    at, seen = [0] * 5, []
    for turn in range(60):
        # Streams ask for different lengths, and not all of them each time.
        asked = [i for i in range(5) if (turn + i) % 3]
        lengths = [min(steps[(turn + i) % len(steps)] * FRAME, len(sounds[i]) - at[i]) for i in asked]
        pieces = [sounds[i][at[i] : at[i] + length] for i, length in zip(asked, lengths, strict=True)]
        found = judge([vads[i] for i in asked], pieces)
        for i, piece, told in zip(asked, pieces, found, strict=True):
            assert told == pytest.approx(references[i](piece) if len(piece) else [], abs=1e-5)
            at[i] += len(piece)
            seen += told
    assert at[0] == len(sounds[0])
    # Not all alike, or the test would say nothing.
    assert min(seen) < 0.2
    assert max(seen) > 0.5


def test_silence_is_none_and_what_is_no_number_costs_its_own_stream_that_step_only() -> None:
    good, broken, again = SileroVad(), SileroVad(), SileroVad()
    sound, nothing = _sound(1, 3), np.full(3 * FRAME, np.nan, np.float32)
    first = judge([good, broken], [sound, nothing])
    assert first[1] == [0.0] * 3
    assert first[0] == pytest.approx(SileroVad()(sound), abs=1e-6)
    assert judge([broken, again], [sound, sound])[0] == pytest.approx(first[0], abs=1e-6)
    assert judge([good], [np.zeros(3 * FRAME, np.float32)]) == [[0.0] * 3]
    assert good(sound) == pytest.approx(first[0], abs=1e-6)


def test_detectors_of_other_kinds_are_asked_beside_it() -> None:
    sound = _sound(2, 3)
    found = judge([LevelVad(), SileroVad(), LevelVad()], [sound, sound, np.zeros(FRAME, np.float32)])
    assert found[0] == LevelVad()(sound)
    assert found[1] == pytest.approx(SileroVad()(sound), abs=1e-6)
    assert found[2] == [0.0]


@given(cut=st.integers(0, 1_000_000), flip=st.integers(0, 2**31))
@example(cut=0, flip=0)
@settings(max_examples=40, deadline=None)
def test_a_file_that_is_cut_or_damaged_is_told_of_and_never_read_for_ever(cut: int, flip: int) -> None:
    data = bytearray(FILE.read_bytes()[: cut % 4000])
    if data:
        data[flip % len(data)] ^= 1 + flip % 255
    try:
        read_weights(bytes(data))
    except (ValueError, UnicodeDecodeError):
        return


def test_another_file_in_its_place_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "silero_vad_v6.onnx").write_bytes(FILE.read_bytes()[:70000])
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(RuntimeError, match=r"silero_vad_v6.onnx cannot be used .*; install faster-whisper 1\.2\.1"):
        silero.network.__wrapped__()


# --- a worker's streams -----------------------------------------------------------------------------


class Deaf(LevelVad):
    """A detector that fails."""

    __slots__ = ()

    def __call__(self, samples: Samples) -> list[float]:
        raise RuntimeError("no such sound")


def _stream(number: int, vad: Any = None) -> Stream:
    return Stream(ipc.Open(number, 16000, "pcm_s16le", None, False, 0.0, 0), vad or SileroVad(), 0.5)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Streams and frames of each run of the network."""
    noted: list[tuple[int, int]] = []
    real = silero.network()

    def noting(frames: Any, state: Any) -> Any:
        noted.append(frames.shape[:2])
        return real(frames, state)

    monkeypatch.setattr("server.worker.vad.network", lambda: noting)
    return noted


def test_what_is_read_together_is_judged_together_and_a_stream_that_fails_fails_alone(
    runs: list[tuple[int, int]],
) -> None:
    heard: list[int] = []
    failed: list[int] = []
    sound = (_sound(3, 6) * 32767).astype("<i2").tobytes()

    async def main() -> None:
        listener = BatchedVad(lambda s: heard.append(s.number), lambda s, _: failed.append(s.number))
        streams = [_stream(n) for n in range(4)] + [_stream(4, Deaf())]
        for stream in streams:
            stream.receive(sound, 1.0)
            listener.add(stream)
        listener.forget(3)
        assert heard == []
        await asyncio.sleep(0)
        assert heard == [0, 1, 2]
        assert failed == [4]
        assert all(stream.next_samples() is None for stream in streams[:3])
        assert streams[3].next_samples() is not None

    asyncio.run(main())
    # The one that fails makes each be asked alone, once; nothing is judged twice by the network's state.
    assert sum(rows for rows, _ in runs) <= 2 * 3


def test_streams_without_a_fault_are_one_run_of_the_network_a_step(runs: list[tuple[int, int]]) -> None:
    sound = (_sound(3, 6) * 32767).astype("<i2").tobytes()

    async def main() -> None:
        listener = BatchedVad(lambda _: None, lambda _, error: pytest.fail(str(error)))
        for number in range(30):
            stream = _stream(number)
            stream.receive(sound, 1.0)
            listener.add(stream)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert runs == [(30, 6)]


def test_sound_that_comes_in_many_passes_is_gathered_and_the_first_after_a_quiet_is_judged_at_once(
    runs: list[tuple[int, int]],
) -> None:
    sound = (_sound(3, 6) * 32767).astype("<i2").tobytes()

    async def main() -> None:
        listener = BatchedVad(lambda _: None, lambda _, error: pytest.fail(str(error)))

        async def speak(numbers: range) -> None:
            for number in numbers:
                stream = _stream(number)
                stream.receive(sound, 1.0)
                listener.add(stream)
                await asyncio.sleep(0)

        await speak(range(1))
        assert runs == [(1, 6)]
        await speak(range(1, 9))
        await asyncio.sleep(3 * GATHER_SECONDS)
        assert runs == [(1, 6), (8, 6)]
        await speak(range(9, 10))
        assert runs == [(1, 6), (8, 6), (1, 6)]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_a_worker_whose_detector_cannot_be_used_says_so_before_any_stream_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def another() -> Any:
        raise UnfitError("the voice activity network cannot be used; install faster-whisper 1.2.1")

    monkeypatch.setattr("server.worker.process.network", another)
    start = ipc.Start("ctranslate2", "cpu", None, "default", 1, 1, 1, 0.0, {})
    said: list[ipc.Message] = []

    async def main() -> None:
        worker = Worker(lambda _: pytest.fail("the model was loaded"))
        monkeypatch.setattr(worker.channel, "send", said.append)
        monkeypatch.setattr(worker.channel, "flush", lambda: None)
        await worker._run(start)

    asyncio.run(main())
    assert said == [ipc.Broken("the voice activity network cannot be used; install faster-whisper 1.2.1", unfit=True)]
