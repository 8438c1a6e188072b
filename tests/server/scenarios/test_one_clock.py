"""One clock a stream: whatever mix of chunks, flushes, commits, kills and returns, positions count what was sent.

Virtual time, and the language of tones, in which every word and its place are known: a sample too many or too few
shows as a word that is lost, said twice or somewhere else. A word that a flush divides may be lost; nothing else may.
"""

import asyncio
import base64
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server import ipc
from server.sessions.audio_request import AudioRequest
from server.sessions.session import Session
from server.sessions.worker_supervisor import WorkerTimeouts
from tests.server.virtual import Client, VirtualLoop, World
from whisper_ops.tone_language import RATE, TONE_SECONDS, VOCABULARY, WORD_SECONDS, track

PATIENCE = WorkerTimeouts(heartbeat=4.0, decode=30.0, longest_backoff=0.5, max_deaths=10**9)
MIXES = int(os.environ.get("WHISPER_OPS_MIXES", "1000"))
"""Examples of each property in make test-slow."""
_EDGE = 0.035
"""Seconds by which a word's place may be told wrong: the tones are heard in frames of 10 ms."""


@dataclass
class Spoken:
    """A word as it was sent, in seconds of the stream."""

    word: str
    start: float
    end: float
    divided: bool = False


@dataclass
class Sound:
    """What a client says: 16-bit samples at its rate, and the truth about them."""

    rate: int
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))
    words: list[Spoken] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def silence(self, samples: int) -> None:
        self.samples = np.concatenate((self.samples, np.zeros(samples, np.int16)))

    def speech(self, count: int) -> None:
        first = len(self.words)
        at_16k = track(first * round(WORD_SECONDS * RATE), count * round(WORD_SECONDS * RATE))
        for k in range(count):
            start = self.seconds + k * WORD_SECONDS
            self.words.append(Spoken(VOCABULARY[(first + k) % len(VOCABULARY)], start, start + TONE_SECONDS))
        length = round(count * WORD_SECONDS * self.rate)
        places = np.arange(length) * RATE / self.rate
        said = np.interp(places, np.arange(len(at_16k)), at_16k).astype(np.int16)
        self.samples = np.concatenate((self.samples, said))

    def flushed(self) -> None:
        """What stands at the end is divided here."""
        for word in self.words:
            word.divided |= word.start < self.seconds < word.end

    def encoded(self, begin: int, end: int, encoding: str) -> bytes:
        part = self.samples[begin:end]
        if encoding == "pcm_f32le":
            return (part / 32768).astype("<f4").tobytes()
        return _mulaw(part) if encoding == "mulaw" else part.astype("<i2").tobytes()


def _mulaw(samples: np.ndarray) -> bytes:
    """ITU-T G.711 µ-law."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(((samples < 0) << 7) | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes())


@dataclass(frozen=True)
class Mix:
    """How a client speaks, and what happens meanwhile."""

    rate: int
    encoding: str
    chunk: int
    pace: float
    steps: tuple[tuple[str, int], ...]


_STEPS = st.one_of(
    st.tuples(st.just("speech"), st.integers(1, 12)),
    st.tuples(st.just("silence"), st.integers(1, 30_000)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("flushes"), st.integers(1, 60)),
    st.tuples(st.just("wait"), st.integers(0, 3000)),
    st.tuples(st.just("kill"), st.just(0)),
)
_RETURNS = st.tuples(st.sampled_from(["drop", "elsewhere", "twice"]), st.just(0))
_CHUNKS = st.one_of(st.integers(100, 6000), st.sampled_from([33, 160, 1600, 4096, 200_000]))


def _mixes(*others: Any) -> st.SearchStrategy[Mix]:
    return st.builds(
        Mix,
        rate=st.sampled_from([16000, 16000, 8000, 24000, 44100, 48000]),
        encoding=st.sampled_from(["pcm_s16le", "pcm_s16le", "pcm_f32le", "mulaw"]),
        chunk=_CHUNKS,
        pace=st.sampled_from([0.0, 0.05, 1.0]),
        steps=st.lists(st.one_of(_STEPS, *others), min_size=1, max_size=14).map(tuple),
    )


class Stage:
    """A server under virtual time, and one client after another."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.world: World = self.runner.run(self._begin())

    async def _begin(self) -> World:
        return await World(patience=PATIENCE, max_connections_per_gpu=1000, idle_seconds=0.0).ready()

    async def kill(self) -> None:
        for process in self.world.processes:
            process.kill()
        self.world.processes.clear()
        await asyncio.sleep(0.01)

    def close(self) -> None:
        self.runner.run(self.world.close())
        self.runner.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


class Talk:
    """A client of one protocol going through a mix."""

    def __init__(self, stage: Stage, mix: Mix) -> None:
        self.stage, self.world, self.mix = stage, stage.world, mix
        self.sound = Sound(mix.rate)
        self.at = 0
        """Samples sent."""
        self.client: Client = None  # type: ignore[assignment]  # connect makes it
        self.latest = 0.0
        """The last position that the server named, in seconds."""

    async def run(self) -> None:
        await self.connect()
        for kind, amount in self.mix.steps:
            await getattr(self, f"do_{kind}")(amount)
            await self.play()
        await self.finish()
        self.sessions_are_sane()

    def sessions_are_sane(self) -> None:
        assert self.world.hub.counters.misplaced == 0
        for session in self.world.hub.sessions.values():
            assert session.lag_s >= 0
            assert session.misplaced == 0
            assert session.covered_s <= session.received_s

    async def play(self) -> None:
        while self.at < len(self.sound.samples):
            end = min(len(self.sound.samples), self.at + self.mix.chunk)
            self.send(self.sound.encoded(self.at, end, self.mix.encoding))
            await asyncio.sleep((end - self.at) / self.mix.rate * self.mix.pace)
            self.at = end
            self.sessions_are_sane()

    async def do_speech(self, count: int) -> None:
        self.sound.speech(count)

    async def do_silence(self, samples: int) -> None:
        self.sound.silence(samples)

    async def do_flush(self, _: int) -> None:
        self.sound.flushed()
        self.flush()

    async def do_flushes(self, count: int) -> None:
        for _ in range(count):
            self.sound.silence(round(self.mix.rate * 0.1) + 1)
            await self.play()
            await self.do_flush(0)

    async def do_wait(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def do_kill(self, _: int) -> None:
        await self.stage.kill()

    # --- a protocol's own ----------------------------------------------------------------------------

    async def connect(self) -> None:
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        raise NotImplementedError


class NativeTalk(Talk):
    """`/ws`, with word times, and with drops that it comes back from."""

    def __init__(self, stage: Stage, mix: Mix) -> None:
        super().__init__(stage, mix)
        self.finals: list[dict[str, Any]] = []

    async def connect(self, **query: Any) -> None:
        given: dict[str, Any] = {"words": "true", "sample_rate": self.mix.rate, "encoding": self.mix.encoding}
        self.client = await self.world.client(**given, **query).connected()
        assert not self.client.over, self.client.messages
        self.at = self.client.of("ready")[0]["received_samples"]

    def send(self, data: bytes) -> None:
        self.client._put({"type": "websocket.receive", "bytes": data})

    def flush(self) -> None:
        self.client.say('{"type":"flush"}')

    def _take(self) -> None:
        """Keep what was told, and hold it against what was sent by now."""
        sent_s = round(self.at / self.mix.rate, 3)
        for message in [*self.client.of("partial"), *self.client.of("final")]:
            assert 0 <= message["start"] <= message["end"] <= sent_s
            assert message.get("lag_s", 0.0) >= 0
        self.finals += self.client.of("final")

    async def _come_back(self, token: str) -> None:
        self._take()
        heard = round(self.finals[-1]["end"] * self.mix.rate) if self.finals else 0
        await self.connect(resume=token, offset=heard)

    async def do_drop(self, _: int) -> None:
        self.client.drop()
        await self.client.finished()
        await self._come_back(self.client.resume_token)

    async def do_elsewhere(self, _: int) -> None:
        """The server is gone with all it knew: another one goes on at the offset."""
        self.client.leave()
        await self.client.finished()
        await self._come_back("of-another-server")

    async def do_twice(self, _: int) -> None:
        """The client is back before its first connection is known to be dead, and that one still brings audio."""
        before = self.client
        await self._come_back(before.resume_token)
        before._put({"type": "websocket.receive", "bytes": self.sound.encoded(0, 4000, self.mix.encoding)})
        await self.world.until(lambda: before.over)

    async def finish(self) -> None:
        await self.client.end()
        assert self.client.close_code == 1000, self.client.messages
        self._take()
        (done,) = self.client.of("done")
        assert done["audio_s"] == round(self.sound.seconds, 3)
        heard = [word for final in self.finals for word in final["words"]]
        _compare(self.sound.words, [(w["word"], w["start"], w["end"]) for w in heard])
        assert " ".join(w["word"] for w in heard) == " ".join(f["text"] for f in self.finals)


class RealtimeTalk(Talk):
    """`/v1/realtime` with `turn_detection: null`: a flush is a commit, and each is answered with its own words."""

    def __init__(self, stage: Stage, mix: Mix) -> None:
        super().__init__(stage, replace(mix, encoding="pcm_s16le"))
        self.commits: list[float] = []

    async def connect(self) -> None:
        self.client = self.world.client("/v1/realtime")
        kinds = {"type": "audio/pcm", "rate": self.mix.rate}
        asked = {"type": "transcription", "audio": {"input": {"format": kinds, "turn_detection": None}}}
        self._event("session.update", session=asked)
        await self.world.until(lambda: bool(self.client.of("session.updated")))

    def _event(self, kind: str, **fields: Any) -> None:
        self.client.say(json.dumps({"type": kind, **fields}))

    def send(self, data: bytes) -> None:
        self._event("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def flush(self) -> None:
        if self.sound.seconds > (self.commits[-1] if self.commits else 0.0):
            self.commits.append(self.sound.seconds)
            self._event("input_audio_buffer.commit")

    async def finish(self) -> None:
        # Of a word that was said and not committed nothing is asked: a pause is sent, and all is committed.
        self.sound.silence(self.mix.rate)
        await self.play()
        self.flush()
        kind = "conversation.item.input_audio_transcription.completed"
        await self.world.until(lambda: len(self.client.of(kind)) == len(self.commits))
        items = [message["transcript"].split() for message in self.client.of(kind)]
        _compare(self.sound.words, [(word, math.nan, math.nan) for item in items for word in item])
        for before, commit, item in zip([0.0, *self.commits], self.commits, items, strict=False):
            inside = [w.word for w in self.sound.words if before <= w.start and w.end <= commit and not w.divided]
            assert [word for word in item if word in inside] == inside
        deltas = self.client.of("conversation.item.input_audio_transcription.delta")
        for item, told in zip(items, self.client.of(kind), strict=True):
            said = "".join(m["delta"] for m in deltas if m["item_id"] == told["item_id"])
            assert said == " ".join(item)
        self.client.leave()
        await self.client.finished()


def _compare(said: list[Spoken], heard: list[tuple[str, float, float]]) -> None:
    """Every word once, in order, and where it was said."""
    rest = iter(said)
    for word, start, end in heard:
        for wanted in rest:
            if wanted.word == word:
                break
            assert wanted.divided, f"{wanted} is missing before {word} at {start}"
        else:
            raise AssertionError(f"{word!r} at {start} was not said there")
        if not wanted.divided and not math.isnan(start):
            assert abs(start - wanted.start) < _EDGE, (wanted, start)
            assert abs(end - wanted.end) < _EDGE, (wanted, end)
    for wanted in rest:
        assert wanted.divided, f"{wanted} is missing at the end"


def _property(talk: Callable[[Stage, Mix], Talk], mixes: st.SearchStrategy[Mix], examples: int) -> Any:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # an example is a minute of a server's life: as it was found, it says enough
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(mix=mixes)
    def check(stage: Stage, mix: Mix) -> None:
        stage.runner.run(talk(stage, mix).run())

    return check


def _mix(*steps: tuple[str, int], rate: int = 16000, chunk: int = 1600, pace: float = 1.0) -> Mix:
    return Mix(rate, "pcm_s16le", chunk, pace, steps)


def test_two_hundred_flushes_of_silence_move_no_word_and_lose_none(stage: Stage) -> None:
    # A flush used to pad the stream to a whole frame: 64.5 s were told as 81.3 s, and a replay began too late.
    mix = _mix(("flushes", 200), ("speech", 20), ("kill", 0), ("speech", 80))
    stage.runner.run(NativeTalk(stage, mix).run())


def test_commits_move_no_word_either(stage: Stage) -> None:
    mix = _mix(("flushes", 100), ("speech", 20), ("kill", 0), ("speech", 20), rate=24000)
    stage.runner.run(RealtimeTalk(stage, mix).run())


def test_a_commit_that_a_dead_worker_never_answered_is_answered_by_the_next(stage: Stage) -> None:
    steps = (("kill", 0), ("speech", 3), ("flush", 0), ("speech", 3), ("flush", 0), ("wait", 3000))
    stage.runner.run(RealtimeTalk(stage, _mix(*steps, pace=0.0)).run())


def test_a_final_that_ends_between_two_milliseconds_is_not_sent_twice(stage: Stage) -> None:
    steps = [
        s for n in range(1, 12) for s in (("speech", 2), ("silence", 37 * n), ("flush", 0), ("wait", 500), ("drop", 0))
    ]
    stage.runner.run(NativeTalk(stage, _mix(*steps, rate=44100)).run())


def test_audio_that_an_abandoned_connection_still_brings_is_none_of_the_stream(stage: Stage) -> None:
    stage.runner.run(NativeTalk(stage, _mix(("speech", 5), ("twice", 0), ("speech", 5), ("twice", 0))).run())


@pytest.mark.parametrize(("offset", "fits"), [(100 * 86400 * 16000, True), (100 * 86400 * 16000 + 1, False)])
def test_a_stream_may_go_on_after_a_hundred_days(stage: Stage, offset: int, fits: bool) -> None:
    async def main() -> None:
        client = await stage.world.client(offset=offset).connected()
        assert bool(client.of("ready")) == fits
        if not fits:
            assert "beyond 100 days" in client.of("error")[0]["message"]
            return
        await client.speak(30.0, level=0)
        (session,) = stage.world.hub.sessions.values()
        assert 0 <= session.lag_s < 0.5
        assert session.misplaced == 0
        await client.end()
        assert client.of("done")[0]["audio_s"] == offset / 16000 + 30

    stage.runner.run(main())


async def test_a_worker_that_counts_wrongly_is_noticed_and_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    session = Session(1, "abc", AudioRequest())
    session.append_audio(bytes(2 * 16000))
    session.advance(0.5, 0.25)
    session.advance(1.5, 1.5)
    assert (session.covered_s, session.settled_s, session.misplaced) == (0.5, 0.25, 1)
    assert session.lag_s == 0.5
    session.deliver(ipc.Done(1, 1.3, 0))
    assert session.misplaced == 2
    assert session.end_message == ipc.Done(1, 1.0, 0)
    assert "1.500 s" in caplog.text


test_native_mixes = _property(NativeTalk, _mixes(_RETURNS), 15)
test_realtime_mixes = _property(RealtimeTalk, _mixes(), 8)
_hours = pytest.mark.timeout(1800)
test_many_native_mixes = _hours(pytest.mark.slow(_property(NativeTalk, _mixes(_RETURNS), MIXES)))
test_many_realtime_mixes = _hours(pytest.mark.slow(_property(RealtimeTalk, _mixes(), MIXES // 4)))
