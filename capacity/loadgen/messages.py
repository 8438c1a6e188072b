"""What passes between the load test and its generator processes: orders down, progress and results up."""

import msgspec

from capacity.loadgen.utterance_text import UtteranceText
from capacity.loadgen.word_latency import WordLatency, WordScore


class StreamOrder(msgspec.Struct, frozen=True):
    """One stream: when it connects and when its sound ends, in seconds of the monotonic clock that all share."""

    number: int
    start_at: float
    stop_at: float
    first_clip: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where streams connect, and how."""

    url: str
    """The WebSocket address, or with `two_step` the HTTP address whose `/connect` hands one out."""
    protocol: str = "native"
    two_step: bool = False
    token: str | None = None


class LevelOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What every stream of a level has in common, and the streams of one process."""

    endpoint: Endpoint
    chunk_seconds: float
    duty_cycle: float = 1.0
    window_from: float
    window_until: float
    """Only words said inside, when every stream was to be live, are measured."""
    setup_seconds: float
    """How long a stream may take to be ready."""
    drain_seconds: float
    """How long the last text may take after the sound."""
    keep_text: bool = False
    block_seconds: float | None = None
    """Measure the window in pieces of this length while the streams go on, and forget what was measured; None: once,
    when all streams are over."""
    streams: tuple[StreamOrder, ...]


class StreamResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as it was."""

    number: int
    outcome: str
    """done, refused, failed, cut, silent, or stopped by the load test itself; done is also one that goes on."""
    error: str | None = None
    wants_token: bool = False
    """Whether that was for the token, or for the lack of one."""
    gpu_id: int | None = None
    replica: str | None = None
    """Host and port that `/connect` handed out; None for those who connected directly."""
    connection_id: str | None = None
    server_id: str | None = None
    total_gpus: int | None = None
    """What the server said of itself: its name, and how many GPUs it has."""
    connect_seconds: float | None = None
    ready_seconds: float | None = None
    """From the call to connect until the server took audio."""
    end_to_final_seconds: float | None = None
    sent_seconds: float = 0.0
    """Sound sent, in all."""
    live_seconds: float = 0.0
    """Sound sent inside the window."""
    speech_words: int = 0
    latencies: tuple[WordLatency, ...] = ()
    score: WordScore = WordScore(0, 0, 0, 0, 0)
    clip_errors: dict[str, tuple[int, int]] = {}
    """Word errors and words of each utterance."""
    partials: int = 0
    finals: int = 0
    bytes_sent: int = 0
    lateness: tuple[float, ...] = ()
    """Of every chunk, in seconds."""
    utterances: tuple[UtteranceText, ...] = ()
    """What came back for each utterance, where texts are kept."""
    text: str | None = None
    reference: str | None = None


class LoadProgress(msgspec.Struct, frozen=True, tag=True):
    """How a process is doing, about once a second."""

    ready: int
    live: int
    ended: int
    failed: int
    texts: int
    """How many times a text changed."""
    behind_p50_seconds: float | None
    """About how far the text of the median speaking stream is behind; None while none speaks."""
    late_max_seconds: float


class Finished(msgspec.Struct, frozen=True, tag=True):
    """A level's end in one process; of a level in blocks, the last of them."""

    results: tuple[StreamResult, ...]
    cpu_seconds: float
    wall_seconds: float
    number: int = 0
    """Of the last block."""


class BlockMeasured(msgspec.Struct, frozen=True, tag=True):
    """A piece of a long level, measured while its streams go on."""

    number: int
    part: Finished


class GeneratorFailed(msgspec.Struct, frozen=True, tag=True):
    """The process cannot do what it was told, in one sentence."""

    reason: str


class ReadCorpus(msgspec.Struct, frozen=True, tag=True):
    """Read a corpus."""

    folder: str


class CorpusRead(msgspec.Struct, frozen=True, tag=True):
    """The corpus was read."""


class RunLevel(msgspec.Struct, frozen=True, tag=True):
    """Run a level."""

    level: LevelOrder


class StopLevel(msgspec.Struct, frozen=True, tag=True):
    """End the running level now; what was measured is reported."""


Down = ReadCorpus | RunLevel | StopLevel
Up = CorpusRead | LoadProgress | BlockMeasured | Finished | GeneratorFailed
