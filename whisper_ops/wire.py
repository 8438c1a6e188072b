"""What a whisper-ops server says about itself: the JSON of its HTTP endpoints, one frozen type each.

Names and meanings are promises to users (docs/api.md). Fields may be added; none may change its meaning. A value that
was not measured is None, never 0. Percentages are 0 to 100 and memory is in GB (10**9 bytes) where the published names
say so; every newer field is in base units, named in the field.
"""

from typing import Annotated, Any, Literal

import msgspec

from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.untrusted_text import cleaned

SERVER_HEADER = "x-whisper-ops-server"
"""On a WebSocket's upgrade: the name of the server process that answered."""
GPUS_HEADER = "x-whisper-ops-gpus"
"""How many GPUs it has."""
CONNECTION_HEADER = "x-whisper-ops-connection"
"""Its name for the connection, as in its log."""

HealthStatus = Literal["starting", "healthy", "degraded", "critical", "draining"]
MAX_GPUS = 1024
"""GPUs of one server: 128 machines of eight behind one exporter. Beyond it an answer is something else."""

GpuState = Literal["starting", "ready", "failed", "draining"]

CPU_NAME = "CPU"
"""The `name` of the one device of a server without a GPU."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every part of an answer: unknown fields are ignored, so that old dashboards read new servers."""

    def __post_init__(self) -> None:
        """A model's folder and a driver's names are words from outside to a server, as its answer is to a reader."""
        cleaned(self)


class SlotCapacity(Wire, frozen=True, kw_only=True):
    """Slots of a server: how many streams it admits at once."""

    total_slots: int
    used_slots: int
    available_slots: int
    utilization_percent: float


class GpuCount(Wire, frozen=True, kw_only=True):
    """How many GPUs there are, and how many of them hold a stream."""

    total: int
    with_connections: int


class HealthPerformance(Wire, frozen=True, kw_only=True):
    """The two counts that `/health` repeats from `/performance`."""

    total_completed_connections: int
    active_connections: int


class Health(Wire, frozen=True, kw_only=True):
    """`GET /health`: whether the server takes streams, and how many of its slots are used."""

    status: HealthStatus
    timestamp: float
    capacity: SlotCapacity
    gpus: GpuCount
    performance: HealthPerformance


class DeviceReadings(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver says of a GPU, by one name and in one unit from driver to screen; None: it does not say.

    A field here is a field of `/gpu-status`, of a poll and of a reading, a gauge of `/metrics`, and a figure that alert
    rules may name. A new one needs besides: the question to the driver, its columns (a migration), a line on a page.
    """

    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    sm_clock_hertz: float | None = None
    memory_busy_ratio: float | None = None


READINGS_HELP = {
    "temperature_celsius": "Temperature.",
    "power_watts": "Power drawn.",
    "power_limit_watts": "Power limit.",
    "sm_clock_hertz": "Clock.",
    "memory_busy_ratio": "Share of time in which the device's memory was read or written.",
}
"""What each of them is, for `/metrics`."""


def readings_of(device: DeviceReadings | None) -> dict[str, Any]:
    """Its readings by name; none where nothing was read."""
    return {} if device is None else {name: getattr(device, name) for name in DeviceReadings.__struct_fields__}


class GpuEntry(Wire, DeviceReadings, frozen=True, kw_only=True):
    """One GPU of `GET /gpu-status`; on a machine without one the only entry is the CPU, with GPU fields None.

    `utilization_percent` is of memory, as published in this field's origin; the GPU's own load is
    `gpu_utilization_percent`. On a CPU memory is the machine's.
    """

    gpu_id: int
    active_connections: int
    connection_ids: tuple[str, ...] = ()
    total_memory_gb: float | None = None
    allocated_memory_gb: float | None = None
    free_memory_gb: float | None = None
    utilization_percent: float | None = None
    name: str | None = None
    uuid: str | None = None
    device: str | None = None
    state: GpuState = "starting"
    gpu_utilization_percent: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    ecc_errors: int | None = None
    other_processes: tuple[str, ...] | None = None
    """What else computes on it, as `python3 (4711)`; None: the driver does not say, as in many containers."""
    other_busy_ratio: float | None = None
    """Share of its time that these took, 0 to 1."""
    reading_age_seconds: float | None = None
    reading_error: str | None = None
    """Why the device cannot be read at the moment, in one sentence; what it always is, as its name, stays."""
    max_connections: int | None = None
    model: str | None = None
    compute_type: str | None = None
    simulated: bool = False
    speaking_streams: int | None = None
    batch_fill_mean: float | None = None
    queue_wait_seconds_p95: float | None = None
    compute_seconds_p95: float | None = None
    queue_wait_bucket_counts: tuple[int, ...] = ()
    """Since the server's start, in the buckets of `whisper_ops.histogram`: two polls differ by what was between."""
    compute_bucket_counts: tuple[int, ...] = ()
    busy_ratio: float | None = None
    audio_seconds_per_second: float | None = None
    lag_seconds_p95: float | None = None
    restarts: int | None = None
    failed_rows: int | None = None
    withheld_utterances: int | None = None
    """Windows that the engine failed to decode, since the server's start."""
    process_id: int | None = None
    process_rss_bytes: int | None = None
    process_cpu_ratio: float | None = None
    server: str | None = None
    """Of a fleet: the member that it belongs to."""
    engine_allocated_gb: float | None = None
    """What the engine's own tensors take of the memory, where it can say; NVML counts the driver's and others' too."""
    engine_reserved_gb: float | None = None
    """What the engine holds of it in all, with what it could give back."""


class GpuStatus(Wire, frozen=True, kw_only=True):
    """`GET /gpu-status`: the devices of a server, their load, memory and readings."""

    total_gpus: int
    total_connections: int
    max_connections_per_gpu: int
    gpus: Annotated[tuple[GpuEntry, ...], msgspec.Meta(max_length=MAX_GPUS)]
    reading_error: str | None = None
    """Why no GPU can be read at the moment, in one sentence: the driver is missing, hangs or is of another version."""


class Averages(Wire, frozen=True, kw_only=True):
    """Means over completed connections since the start; None with no data."""

    setup_time_ms: float | None = None
    connection_duration_s: float | None = None
    audio_chunks_per_connection: float | None = None
    transcriptions_per_connection: float | None = None


class Extremes(Wire, frozen=True, kw_only=True):
    """Slowest and fastest set-up since the start, in milliseconds; None with no data."""

    slowest_setup_ms: float | None = None
    fastest_setup_ms: float | None = None


class Latency(Wire, frozen=True, kw_only=True):
    """Latency percentiles of a server over the last minute, in seconds.

    `lag`: audio received minus the later of (audio covered by text, audio judged silent), sampled each second for each
    stream. `final`: from the end of an utterance's speech to its final text. `setup`: from the connection to ready.
    """

    lag_p50_s: float | None = None
    lag_p95_s: float | None = None
    lag_p99_s: float | None = None
    final_p50_s: float | None = None
    final_p95_s: float | None = None
    setup_p50_s: float | None = None
    setup_p95_s: float | None = None
    partial_interval_s: float | None = None
    lag_bucket_counts: tuple[int, ...] = ()
    """Every lag sample since the start, counted in the buckets of `whisper_ops.histogram`."""
    final_bucket_counts: tuple[int, ...] = ()
    setup_bucket_counts: tuple[int, ...] = ()
    lag_sum_s: float = 0.0
    final_sum_s: float = 0.0
    setup_sum_s: float = 0.0
    """The sums of the counted samples: with the counts they give means."""


class Performance(Wire, frozen=True, kw_only=True):
    """`GET /performance`. Totals count since the server's start."""

    total_completed_connections: int
    active_connections: int
    averages: Averages = Averages()
    extremes: Extremes = Extremes()
    latency: Latency = Latency()
    rejected_total: dict[str, int] = {}
    failed_total: int = 0
    accepted_total: int = 0
    resumed_total: int = 0
    overloaded_total: int = 0
    paused_total: int = 0
    flooded_total: dict[str, int] = {}
    turned_away_total: int = 0
    telemetry_errors_total: int = 0
    misplaced_total: int = 0
    """Connections closed because their uncovered audio passed the limit."""
    tickets_issued_total: int = 0
    tickets_used_total: int = 0
    tickets_abandoned_total: int = 0
    """Tickets of `/connect` that nobody came with."""
    tickets_waiting: int = 0
    """Tickets that are out now and hold no slot yet: so many of the free slots are promised."""


class Host(Wire, frozen=True, kw_only=True):
    """The machine that a server runs on: its limits and their use, from which the planner says what binds next."""

    hostname: str | None = None
    cpu_count: int | float | None = None  # a whole number stays one in JSON
    """Cores that the server may use: of the machine, or of the quota of its container, as 1.5."""
    cpu_ratio: float | None = None
    """The share of those cores that is in use, by whomever, 0 to 1."""
    load_1m: float | None = None
    memory_total_bytes: int | None = None
    """Of the machine, or the limit of its container."""
    memory_available_bytes: int | None = None
    front_cpu_ratio: float | None = None
    """Of one core: what the front process, a serial loop, uses of it."""
    process_rss_bytes: int | None = None
    """The front process and its workers together."""
    process_cpu_ratio: float | None = None
    """The front process and its workers together, in cores."""
    open_descriptors: int | None = None
    descriptors_soft_limit: int | None = None
    descriptors_hard_limit: int | None = None
    sockets: int | None = None
    threads: int | None = None
    tasks_max: int | None = None
    """Threads that its control group may have, else the whole machine."""
    somaxconn: int | None = None
    syn_backlog: int | None = None
    port_range_low: int | None = None
    port_range_high: int | None = None
    conntrack_max: int | None = None
    network_receive_bytes_per_second: float | None = None
    network_send_bytes_per_second: float | None = None


class EngineEntry(Wire, frozen=True, kw_only=True):
    """What runs the model: the keys of a scaling law. Laws of different keys are never mixed."""

    name: str
    """`ctranslate2`, `torch` or `simulated`."""
    model: str
    compute_type: str | None = None
    max_batch: int | None = None
    simulated: bool = False
    languages: str | None = None
    details: dict[str, Any] = {}


MemberState = Literal["live", "starting", "draining", "silent"]


class Member(Wire, frozen=True, kw_only=True):
    """A server of a fleet, as a broker last saw it."""

    name: str
    state: MemberState
    """`silent`: it does not answer, and gets no streams until it does."""
    server_id: str | None = None
    slots: int | None = None
    slots_used: int | None = None
    slots_free: int | None = None
    """What the broker may still give out there: free slots less those that tickets were promised."""
    streams_active: int | None = None
    gpus: int | None = None
    gpus_failed: int | None = None
    status: HealthStatus | None = None
    """Its own word for how it is."""
    lag_p95_s: float | None = None
    error: str | None = None
    """Why it is silent, or gets no streams, in one sentence."""
    age_seconds: float | None = None
    """How old this is."""


class ServerSnapshot(Wire, frozen=True, kw_only=True):
    """`GET /snapshot`: everything a poller asks for, in one answer."""

    health: Health
    gpu_status: GpuStatus
    performance: Performance
    host: Host
    engine: EngineEntry
    version: str
    started_at: float | None = None
    """When the server started, UTC epoch seconds."""
    software: str = WHISPER_OPS
    server_id: str | None = None
    """The name of this server process, which no other has: behind one address there may be several."""
    members: tuple[Member, ...] | None = None
    """Of a broker: the servers that its figures are the sum of. None: this is a server."""


class Connect(Wire, frozen=True, kw_only=True):
    """`GET /connect`: where to connect directly, and a slot held until `expires_at` (UTC epoch seconds)."""

    ws_url: str
    pod_id: str | None
    port: int
    active_streams: int
    max_streams: int
    gpu_id: int | None = None
    ticket: str | None = None
    expires_at: float | None = None
    tickets_issued_total: int | None = None
    """Of `/performance`, with this ticket: a reading that says as much or more knows of it."""


SampleKind = Literal["file", "voice", "tones"]


class SampleSound(Wire, frozen=True, kw_only=True):
    """`GET /sample`: the sound that the page at `/` can play."""

    available: bool
    kind: SampleKind | None = None
    """The file of `--sample`, a voice that reads, or the tones that a simulated engine hears."""
    text: str | None = None
    """What is said in it, where that is known."""
    reason: str | None = None
    """Why there is none, in one sentence."""


class ConnectFor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /connect`: for whom a broker asks."""

    address: Annotated[str, msgspec.Meta(max_length=64)]
    """The client's, as the broker sees it."""


def encode(value: Any) -> bytes:  # noqa: ANN401  # whatever msgspec can encode
    """JSON of a wire value, compact, UTF-8. Infinite and missing numbers become null, as JSON has neither."""
    return msgspec.json.encode(value)
