"""What measurements leave in the history: the rows of `sweep`, `level`, `stream`, `plan`, `event` and `alert`.

A field is a column. Times are UTC epoch seconds; durations, sizes and shares are in base units and say so. None is
"not measured".
"""

from typing import ClassVar, Literal

import msgspec

from whisper_ops.identity import Identity
from whisper_ops.untrusted_text import cleaned

SweepState = Literal["running", "done", "interrupted", "failed"]
Audit = Literal["valid", "provisional", "invalid", "disturbed"]
"""`invalid` and `disturbed` levels are no evidence; of the latter other programs had the machine."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The base of the rows: texts in it are cleaned as it is made."""

    def __post_init__(self) -> None:
        """A history may be another user's, and its errors are a server's words."""
        cleaned(self)


class RanRecord(Identity, frozen=True, kw_only=True):
    """A row about something that ran: its identity is columns of its own."""

    TEXT_LIMIT: ClassVar[int | None] = None


class SweepRecord(RanRecord, frozen=True, kw_only=True):
    """One load test of one server, and the keys under which its levels may enter a law."""

    server: str
    started_at: float
    state: SweepState = "running"
    reason: str | None = None
    """Why it ended as it did; for a search, why it stopped."""
    finished_at: float | None = None
    gpus: int | None = None
    protocol: str = "native"
    chunk_seconds: float
    duty_cycle: float = 1.0
    """Speech and silence played, as a share of the time connected; 1: the stream never idles."""
    arrivals: str = "spread"
    corpus: str
    """Name and content hash of the speech that was played."""
    pause_share: float | None = None
    """The share of the time in which nobody spoke, as the speech was played; None: not known."""
    objective: str
    settings: str = "{}"
    """JSON: everything else that a resumed sweep must repeat."""


class LevelFigures(Record, frozen=True, kw_only=True):
    """What the load test measured at one level; latencies are of words pooled over all streams."""

    achieved_concurrency: float
    """Audio seconds sent a second of wall time: by Little's law the streams that really were live at once."""
    words: int
    first_p50_seconds: float | None = None
    first_p95_seconds: float | None = None
    first_p99_seconds: float | None = None
    first_max_seconds: float | None = None
    first_mean_seconds: float | None = None
    stable_p50_seconds: float | None = None
    stable_p95_seconds: float | None = None
    stable_p99_seconds: float | None = None
    stable_max_seconds: float | None = None
    stable_mean_seconds: float | None = None
    end_to_final_p50_seconds: float | None = None
    end_to_final_p95_seconds: float | None = None
    connect_p95_seconds: float | None = None
    ready_p50_seconds: float | None = None
    ready_p95_seconds: float | None = None
    ready_max_seconds: float | None = None
    wer_ratio: float | None = None
    missing_words: int | None = None
    reference_words: int | None = None
    """Words said by the streams whose text was heard to its end: what `missing_words` is a share of."""
    partials_per_second: float | None = None
    """A stream."""
    connected: int = 0
    refused: int = 0
    failed: int = 0
    bytes_sent: int = 0
    late_p50_seconds: float | None = None
    """The generator's own lateness: actual minus intended send."""
    late_p99_seconds: float | None = None
    generator_cpu_ratio: float | None = None
    gpu_spread: int | None = None
    """Most streams on a GPU minus fewest."""


class LevelRecord(LevelFigures, frozen=True, kw_only=True):
    """One level of load: a number of streams held for a while."""

    sweep_id: int
    streams: int
    """How many were asked for."""
    repeat: int = 0
    started_at: float
    duration_seconds: float
    audit: Audit
    passed: bool | None
    """Whether the objective was met; None where the audit forbids an answer."""
    reason: str
    """Which objective was missed, or why the audit says what it says, in words; empty when all is well."""
    findings: str = "[]"
    """The same as data: JSON of `whisper_ops.objective.findings`."""
    server_lag_p95_seconds: float | None = None
    server_busy_ratio: float | None = None
    server_gpu_ratio: float | None = None
    server_batch_fill: float | None = None
    server_compute_p95_seconds: float | None = None
    server_queue_p95_seconds: float | None = None
    gpu_memory_used_bytes: float | None = None
    """The largest seen on any one GPU."""
    streams_per_gpu: float | None = None
    """Streams on that GPU at that moment; the load that a memory law is fitted on."""
    host_cpu_ratio: float | None = None
    host_memory_used_bytes: float | None = None
    server_rss_bytes: float | None = None
    server_cpu_ratio: float | None = None
    """In cores, front and workers together."""
    front_cpu_ratio: float | None = None
    other_cpu_ratio: float | None = None
    """The share of the host's processor time that neither the server nor the load test took."""
    server_descriptors: float | None = None
    servers: int | None = None
    """How many servers answered at the address; None: they did not say who they are."""
    gpus: int | None = None
    """How many GPUs those servers have together; None: not known."""


class StreamRecord(Record, frozen=True, kw_only=True):
    """One stream of a level: how it ended, how late its words were, and where it was served."""

    level_id: int
    number: int
    gpu_id: int | None = None
    connect_seconds: float | None = None
    ready_seconds: float | None = None
    end_to_final_seconds: float | None = None
    audio_seconds: float = 0.0
    words: int = 0
    missing_words: int = 0
    wer_ratio: float | None = None
    stable_p95_seconds: float | None = None
    first_p95_seconds: float | None = None
    partials: int = 0
    finals: int = 0
    bytes_sent: int = 0
    late_p99_seconds: float | None = None
    outcome: str = "done"
    """done, refused, failed, cut or silent."""
    error: str | None = None
    replica: str | None = None
    """Host and port that `/connect` handed out; None for streams that connected directly."""
    connection_id: str | None = None
    """What the server called it, as in its log."""
    server_id: str | None = None
    """Which server process took it, where it says."""


class UtteranceRecord(Record, frozen=True, kw_only=True):
    """Word errors of one utterance at a level, over all streams that said it."""

    level_id: int = 0
    clip: str
    words: int
    errors: int


class WordLatencyRecord(Record, frozen=True, kw_only=True):
    """How many words of a level fell into one bucket of `whisper_ops.histogram`."""

    level_id: int = 0
    bucket: int
    first: int
    stable: int


class PlanRecord(RanRecord, frozen=True, kw_only=True):
    """A plan as it was given, for the server to load and for `plan diff`."""

    created_at: float
    server: str | None = None
    objective: str
    provisional: bool
    max_connections_per_gpu: int | None = None
    last_pass: int | None = None
    first_fail: int | None = None
    binding_resource: str | None = None
    binding_kind: str | None = None
    """The same as data: a kind of `whisper_ops.plan.plan_document`."""
    reason: str
    body: str
    """The whole plan, as the JSON that `plan --json` prints."""


class EventRecord(Record, frozen=True, kw_only=True):
    """Something that happened to a server, such as a restart, as opposed to a reading."""

    at: float
    server: str | None = None
    kind: str
    detail: str


class ReachedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is reached (address, token's file): a column of its row."""

    server: str
    reached_by: str | None
    """JSON, a [[server]] of whisper-ops.toml, which names the file or variable of a token and holds none."""


class AlertRecord(Record, frozen=True, kw_only=True):
    """A rule that held for its hold time. While it lasts `ended_at` is None and the figures grow."""

    rule: str
    severity: str
    server: str
    gpu_id: int | None = None
    started_at: float
    """When the condition began, not when its hold time was over."""
    ended_at: float | None = None
    min_value: float | None = None
    mean_value: float | None = None
    max_value: float | None = None
    last_value: float | None = None
    figure: str | None = None
    """What the rule looks at; None: the alert is about no figure, or an older version kept only its words."""
    over_limit: float | None = None
    under_limit: float | None = None
    """The rule's limit, on the one side or the other."""
    sentence: str
    """The same in words, for people; no code reads them back."""
