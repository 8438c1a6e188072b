"""The small pure parts: audio forms, features, loops, agreement, batches, messages, cuts."""

import asyncio
import itertools
import math
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import ipc
from server.audio_formats import AudioDecoder
from server.devices import WorkerDevice, check_present, parse
from server.engines.engine import TimedWord
from server.sessions.audio_log import AudioLog
from server.worker.agreement import Agreement, with_prefix
from server.worker.audio_buffer import AudioBuffer
from server.worker.scheduler import Job, context_seconds, next_batch
from server.worker.segmenter import Segmenter, Tuning, pause_seconds
from server.worker.utterance import cut_at
from whisper_ops.errors import UserError

# --- audio ----------------------------------------------------------------------------------------------


def _sine(rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * math.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def test_sixteen_bit_and_float_samples_say_the_same() -> None:
    tone = _sine(16000)
    exact = AudioDecoder("pcm_f32le", 16000)(tone.tobytes())
    coarse = AudioDecoder("pcm_s16le", 16000)((tone * 32768).astype("<i2").tobytes())
    assert np.abs(exact - tone).max() == 0
    assert np.abs(coarse - tone).max() < 1 / 32768


def test_mulaw_follows_g711() -> None:
    decoded = AudioDecoder("mulaw", 16000)(bytes([0xFF, 0x7F, 0x80, 0x00]))
    assert list(np.round(decoded * 32768)) == [0, 0, 32124, -32124]


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
def test_other_rates_become_sixteen_kilohertz_whatever_the_chunks(rate: int) -> None:
    tone = (_sine(rate, 2.0) * 32767).astype("<i2").tobytes()
    decoder = AudioDecoder("pcm_s16le", rate)
    step = 2 * (rate // 50)
    parts = [decoder(tone[i : i + step]) for i in range(0, len(tone), step)]
    out = np.concatenate([*parts, decoder.rest()])
    assert abs(len(out) - 32000) <= 16
    middle = out[8000:24000]
    spectrum = np.abs(np.fft.rfft(middle))
    assert int(spectrum.argmax()) == 440
    assert 0.45 < np.abs(middle).max() < 0.55


def test_a_clients_infinities_do_no_harm() -> None:
    data = np.array([np.nan, np.inf, -np.inf, 7.0], "<f4").tobytes()
    assert list(AudioDecoder("pcm_f32le", 16000)(data)) == [0.0, 1.0, -1.0, 1.0]


def test_features_are_whispers_own() -> None:
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    from server.engines import mel

    random = np.random.default_rng(1)
    audio = (random.normal(size=16000 * 3 + 77) * 0.1).astype(np.float32)
    ours = mel.features(audio, 800)
    theirs = extractor(np.pad(audio, (0, 16000 * 8 - len(audio))), padding=0)
    assert np.abs(ours[:, :799] - theirs[:, :799]).max() < 1e-4


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(0, 5000))
def test_a_line_gives_back_what_was_put_in(lengths: list[int], drop: int) -> None:
    line, whole = AudioBuffer(100), np.arange(sum(lengths), dtype=np.float32)
    at = 0
    for i, length in enumerate(lengths):
        line.append(whole[at : at + length])
        at += length
        if i == len(lengths) // 2:
            line.drop(100 + min(drop, at))
    assert line.end == 100 + len(whole)
    begin = line.begin - 100
    assert list(line.slice(line.begin, line.end)) == list(whole[begin:])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 600), st.integers(0, 600))
def test_what_is_not_settled_can_be_played_again(lengths: list[int], settled: int, wanted: int) -> None:
    whole = np.arange(sum(lengths), dtype="<i2").tobytes()
    log, at = AudioLog(2, origin=10), 0
    for length in lengths:
        log.append(whole[at : at + 2 * length])
        at += 2 * length
    log.settle(10 + settled)
    position = max(wanted, settled, log.begin - 10)
    assert b"".join(log.replay(10 + position)) == whole[2 * position :]


# --- text -----------------------------------------------------------------------------------------------


def test_what_two_hypotheses_agree_on_is_stable_but_for_the_last_words() -> None:
    agreement = Agreement()
    agreement.add(["the", "cat", "sat", "on"])
    assert agreement.stable_chars == 0
    agreement.add(["the", "cat", "sat", "on", "the", "mat"])
    assert agreement.text[: agreement.stable_chars] == "the cat sat"
    agreement.add(["the", "cat", "sad", "on", "the", "mat", "and"])
    assert agreement.text == "the cat sat on the mat and"


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=12), max_size=8))
def test_stable_words_never_change(hypotheses: list[list[str]]) -> None:
    agreement, before = Agreement(), ""
    for hypothesis in hypotheses:
        agreement.add(hypothesis)
        assert agreement.text.startswith(before)
        before = agreement.text[: agreement.stable_chars]


def test_a_differing_hypothesis_loses_and_repeats_no_word() -> None:
    assert with_prefix(["a", "b", "c"], ["a", "x", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert with_prefix(["a", "b", "c"], ["a", "b", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert with_prefix(["a", "b", "c"], ["A,", "B", "c.", "d"]) == ["a", "b", "c", "d"]


def test_a_forced_cut_falls_into_the_widest_gap_of_the_last_words() -> None:
    times = [(0, 0.4), (0.4, 0.8), (1.4, 1.8), (1.8, 2.2), (2.2, 2.6)]
    words = tuple(TimedWord(f"w{i}", a, b, 1.0) for i, (a, b) in enumerate(times))
    count, at = cut_at(words, 2.3)
    assert count == 2
    assert at == pytest.approx(1.1)
    assert cut_at(words, 0.1) == (0, 0.0)


# --- utterances and batches -----------------------------------------------------------------------------


def _cuts(probabilities: list[float]) -> list[tuple[int, int]]:
    starts: list[int] = []
    cuts: list[tuple[int, int]] = []
    segmenter = Segmenter(0, Tuning(), starts.append, lambda end, _: cuts.append((starts[-1], end)))
    for probability in probabilities:
        segmenter.feed(probability)
    segmenter.close()
    return [(a // 512, b // 512) for a, b in cuts]


def test_an_utterance_has_a_little_audio_before_and_after_it() -> None:
    assert _cuts([0.0] * 50 + [0.9] * 40 + [0.0] * 50) == [(41, 99)]


def test_a_click_is_no_utterance() -> None:
    assert _cuts([0.0] * 20 + [0.9] * 2 + [0.0] * 60) == []


def test_utterances_never_overlap() -> None:
    cuts = _cuts(([0.9] * 30 + [0.0] * 17) * 5)
    assert len(cuts) == 5
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(cuts))


def test_the_longer_an_utterance_the_shorter_the_pause_that_ends_it() -> None:
    tuning = Tuning()
    assert pause_seconds(tuning, 1.0) == tuning.pause
    assert pause_seconds(tuning, 60.0) == tuning.short_pause
    assert tuning.short_pause < pause_seconds(tuning, 8.0) < tuning.pause


def test_finals_go_first_and_a_batch_shares_its_context() -> None:
    jobs = [
        Job("early partial", 1.0, False, 4.0),
        Job("late final", 3.0, True, 10.0),
        Job("partial beside it", 2.0, False, 10.0),
        Job("not due", 9.0, True, 10.0),
    ]
    assert [job.item for job in next_batch(jobs, 4.0, 8)] == ["late final", "partial beside it"]
    assert [job.item for job in next_batch(jobs[:1], 4.0, 8)] == ["early partial"]
    assert next_batch(jobs, 0.5, 8) == []


def test_room_that_is_left_in_a_batch_goes_to_somewhat_shorter_contexts() -> None:
    jobs = [Job("head", 1.0, True, 8.0), Job("half", 1.5, False, 4.0), Job("alike", 2.0, False, 8.0)]
    assert [job.item for job in next_batch(jobs, 3.0, 8)] == ["head", "alike", "half"]
    assert [job.item for job in next_batch(jobs, 3.0, 2)] == ["head", "alike"]


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans(), st.sampled_from([4.0, 6.0])), max_size=20))
def test_the_most_urgent_job_is_always_in_the_next_batch(given_jobs: list[tuple[float, bool, float]]) -> None:
    jobs = [Job(i, *job) for i, job in enumerate(given_jobs)]
    batch = next_batch(jobs, 5.0, 4)
    due = [job for job in jobs if job.due <= 5.0]
    assert bool(batch) == bool(due)
    assert len(batch) <= 4
    if due:
        assert batch[0].urgency == min(job.urgency for job in due)
        assert all(batch[0].context / 2 <= job.context <= batch[0].context for job in batch)


def test_a_context_leaves_silence_after_the_speech() -> None:
    assert context_seconds(2.0) == 4.0
    assert context_seconds(3.1) == 6.0
    assert context_seconds(29.9) == 30.0


# --- devices and messages -------------------------------------------------------------------------------


def test_devices_are_read_as_they_are_written() -> None:
    assert parse("cpu,cpu") == (WorkerDevice("cpu", 0), WorkerDevice("cpu", 1))
    assert [d.name for d in parse("cuda:0,cuda:2")] == ["cuda:0", "cuda:2"]
    assert len(parse("sim:8", simulated=True)) == 8


@pytest.mark.parametrize(
    ("text", "simulated"), [("gpu", False), ("cuda:0,cuda:0", False), ("sim:2", False), ("cpu", True)]
)
def test_devices_that_make_no_sense_are_named(text: str, simulated: bool) -> None:
    with pytest.raises(UserError, match=text):
        parse(text, simulated=simulated)


@pytest.mark.parametrize(("count", "says"), [(0, "no CUDA GPU"), (1, "1 CUDA GPU ")])
def test_a_gpu_that_is_not_there_is_named(count: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.devices._cuda_devices", lambda *, torch: count)
    check_present(parse("cpu"))
    for torch, finder in (False, "CTranslate2"), (True, "torch"):
        with pytest.raises(UserError, match=rf"cuda:3, and {finder} finds {says}"):
            check_present(parse("cuda:3"), torch=torch)
    if count:
        check_present(parse("cuda:0"))


async def test_messages_arrive_whole_and_in_order_however_they_are_cut() -> None:
    got: list[ipc.Message] = []
    lost = asyncio.Event()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    channel = ipc.Channel(ipc.ToFront, lambda _: None, lambda: None)
    other = ipc.Channel(ipc.ToWorker, got.append, lost.set)
    await loop.create_connection(lambda: channel, sock=ours)
    await loop.create_connection(lambda: other, sock=theirs)
    sent: list[ipc.Message] = [ipc.Open(1, 16000, "pcm_s16le", None, False, 0.0, 0)]
    sent += [ipc.AudioMessage(1, bytes(size)) for size in (0, 1, 65536, 300_000)]
    for message in [*sent, ipc.EndOfAudio(1)]:
        channel.send(message)
    channel.close()
    await asyncio.wait_for(lost.wait(), 5)
    assert got == [*sent, ipc.EndOfAudio(1)]
    channel.send(ipc.Close(1))


def test_a_forced_cut_loses_nothing_when_word_times_are_useless() -> None:
    from server.engines.engine import Hypothesis
    from server.worker.stream import LONGEST_SECONDS, Stream

    class Speech:
        def __call__(self, samples: np.ndarray) -> list[float]:
            return [1.0] * (len(samples) // 512)

    stream = Stream(ipc.Open(1, 16000, "pcm_s16le", None, False, 0.0, 0), Speech(), 0.5)
    stream.feed(bytes(2 * 16000 * 20), 20.0)
    job = stream.job()
    assert job is not None
    assert job.final
    window = stream.take(20.0, job.context)
    assert window.row.words
    words = tuple(TimedWord(word, 0.0, 0.0, 1.0) for word in ("one", "two"))
    stream.apply(window, Hypothesis("one two", words=words), 20.0)
    (final,) = stream.events
    assert isinstance(final, ipc.Final)
    assert final.text == "one two"
    assert final.end == pytest.approx(LONGEST_SECONDS)
    assert stream.covered_s >= LONGEST_SECONDS


# --- open files -----------------------------------------------------------------------------------------


def test_the_soft_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    script = (
        "import resource; from server.connections.open_files import make_room\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))\n"
        "print(make_room(200), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "make_room(400)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "400 400"
    assert "400 slots need 528 open files and this process may have 400" in done.stderr
