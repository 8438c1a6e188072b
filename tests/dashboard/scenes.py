"""A fleet made up for tests and pictures: four servers, one late, one silent. Every moment is fixed."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from dashboard.chart_data import DEFAULT_SPAN, Chart, ChartData, ChartSeries, step_seconds
from dashboard.fleet_state import FleetState
from dashboard.replay.chart_reader import ChartSource, NoCharts
from dashboard.world import AlertView, DashboardCost, World
from whisper_ops.history import EventRecord, PlanRecord
from whisper_ops.identity import Identity
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_records import read_or_columns
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot
from whisper_ops.wire import Member

NOW = 1_795_269_807.0
"""2026-11-21 14:03:27 UTC."""

IDENTITY = Identity(
    software="whisper-ops",
    version="0.1.0",
    engine="ctranslate2",
    model="large-v3-turbo",
    compute_type="float16",
    max_batch=32,
    gpu_name="NVIDIA H100 80GB HBM3",
)

BODY = {
    "schema": "whisper-ops/plan/1",
    "reason": "p95 lag passes 2.0 s between 20 and 22",
    "newest_evidence_at": NOW - 2 * 86400 - 60,
    "levels": [
        {"streams": 18, "repeats": 3, "passes": 3, "audit": "valid", "chance": 0.99},
        {"streams": 20, "repeats": 3, "passes": 3, "audit": "valid", "chance": 0.86},
        {"streams": 22, "repeats": 3, "passes": 0, "audit": "valid", "chance": 0.04},
    ],
    "next_test": "one level at 84 for 5 minutes.",
    "runner_up": "server core",
    "capacity": {"last_pass": 20, "first_fail": 22, "status": "identified"},
    "resources": [
        {"name": "latency objective", "unit": "s", "law": "soft minimum (0.031)", "cap_text": "2.0 s",
         "limit": 21, "low": 20, "high": 22, "evidence": "9 levels",
         "curve": [[0, 0.2], [10, 0.55], [18, 1.3], [20, 1.8], [24, 3.9]]},
        {"name": "server core", "unit": "%", "law": "0.71 % a stream + 4 %", "cap_text": "90 %",
         "limit": 32, "low": 30, "high": 35, "evidence": "9 levels", "curve": [[0, 4], [40, 32]]},
        {"name": "GPU memory", "unit": "GB", "law": "12.4 GB + 0.168 GB·N", "cap_text": "78 GB",
         "limit": 402, "low": 398, "high": 406, "evidence": "9 levels", "curve": [[0, 12.4], [100, 29.2]]},
        {"name": "descriptors", "unit": "", "law": "2 a stream", "cap_text": "1,024 soft", "limit": 480,
         "evidence": "host", "fix": "LimitNOFILE=65536"},
    ],
    "tiers": [
        {"name": "conservative", "connections": 10}, {"name": "moderate", "connections": 14},
        {"name": "aggressive", "connections": 18}, {"name": "extreme", "connections": 22},
    ],
}  # fmt: skip

PLAN = PlanRecord(
    created_at=NOW - 2 * 86400,
    server="asr-fra-01",
    software="whisper-ops",
    version="0.1.0",
    engine="ctranslate2",
    model="large-v3-turbo",
    compute_type="float16",
    max_batch=32,
    gpu_name="NVIDIA H100 80GB HBM3",
    objective="stable_p95_seconds<=2,connected_ratio>=0.999",
    provisional=False,
    max_connections_per_gpu=18,
    last_pass=20,
    first_fail=22,
    binding_resource="latency objective",
    reason="p95 lag passes 2.0 s between 20 (last pass) and 22 (first fail); GPU step time binds. 90 % of 20.",
    body=msgspec.json.encode(BODY).decode(),
)


def plan_of(record: PlanRecord = PLAN, **changes: Any) -> Plan:
    """The plan that a row of the history holds."""
    return read_or_columns(msgspec.structs.replace(record, **changes))


ALERTS = (
    AlertView(
        server="asr-ams-02",
        rule="silent",
        severity="bad",
        since=NOW - 72,
        sentence="no answer for 1 m 12 s: connection refused by 10.0.3.7:8000",
    ),
    AlertView(
        server="asr-fra-02",
        gpu_id=3,
        rule="lag",
        severity="warn",
        since=NOW - 97,
        sentence="lag p95 over 1.5 s for 97 s",
        spread="min 1.2 s avg 1.6 s max 1.9 s",
    ),
    AlertView(
        server="asr-ams-01",
        rule="rejects",
        severity="warn",
        since=NOW - 5400,
        until=NOW - 5100,
        sentence="14 connections a minute were refused",
    ),
)

EVENTS = (
    EventRecord(at=NOW - 72, server="asr-ams-02", kind="silent", detail="connection refused by 10.0.3.7:8000"),
    EventRecord(at=NOW - 3600, server="asr-fra-02", kind="limit", detail="max_connections_per_gpu 16 to 18"),
    EventRecord(at=NOW - 86400, server="asr-fra-01", kind="restart", detail="it started again, version 0.1.0"),
)


def gpu(gpu_id: int, streams: int, lag: float | None, **changes: object) -> GpuFigures:
    """A busy H100."""
    busy = min(0.99, streams / 20)
    made = GpuFigures(
        gpu_id=gpu_id,
        uuid=f"GPU-{gpu_id}",
        name="NVIDIA H100 80GB HBM3",
        state="ready",
        streams_active=streams,
        streams_speaking=round(streams * 0.74),
        slots=20,
        memory_total_bytes=80e9,
        memory_used_bytes=12.4e9 + 0.168e9 * streams,
        gpu_ratio=busy * 0.9,
        busy_ratio=busy,
        temperature_celsius=48 + 1.2 * streams,
        power_watts=180 + 22.0 * streams,
        power_limit_watts=700,
        sm_clock_hertz=1.98e9,
        throttle_reasons="",
        ecc_errors=0,
        reading_age_seconds=0.4,
        batch_fill_mean=0.42 * streams,
        queue_wait_p95_seconds=None if lag is None else lag * 0.45,
        compute_p95_seconds=None if lag is None else lag * 0.3,
        audio_seconds_per_second=streams * 0.74,
        lag_p95_seconds=lag,
        restarts=0,
        process_rss_bytes=5.1e9,
        process_cpu_ratio=0.6,
    )
    return msgspec.structs.replace(made, **changes)


def snapshot(server: str, at: float, gpus: tuple[GpuFigures, ...], status: str = "healthy", **said: object) -> Snapshot:
    """A poll that was answered."""
    lags = [gpu.lag_p95_seconds for gpu in gpus if gpu.lag_p95_seconds is not None]
    streams = sum(gpu.streams_active or 0 for gpu in gpus)
    figures = ServerFigures(
        status=status,
        started_at=NOW - 6 * 86400 - 4 * 3600,
        slots=20 * len(gpus),
        slots_used=streams,
        slots_per_gpu=20,
        streams_active=streams,
        streams_speaking=sum(gpu.streams_speaking or 0 for gpu in gpus),
        gpus=len(gpus),
        accepted_total=4211,
        completed_total=4100,
        failed_total=2,
        rejected_total=3,
        lag_p50_seconds=max(lags, default=0) * 0.5,
        lag_p95_seconds=max(lags, default=None),
        lag_p99_seconds=max(lags, default=0) * 1.4,
        final_p50_seconds=0.7,
        final_p95_seconds=1.3,
        partial_interval_seconds=1.2,
        setup_mean_seconds=0.21,
        setup_max_seconds=1.9,
        setup_min_seconds=0.08,
    )
    host = HostFigures(
        hostname=f"{server}.example",
        cpu_count=24,
        cpu_ratio=0.31,
        load_1m=7.2,
        memory_total_bytes=64e9,
        memory_available_bytes=41e9,
        front_cpu_ratio=0.38,
        process_rss_bytes=9.7e9,
        process_cpu_ratio=3.1,
        open_descriptors=211,
        descriptors_soft_limit=65536,
    )
    return Snapshot(
        server=server,
        at=at,
        poll_seconds=0.0042,
        identity=IDENTITY,
        figures=msgspec.structs.replace(figures, **said),
        gpus=gpus,
        host=host,
    )


def silence(server: str, at: float, error: str = "connection refused by 10.0.3.7:8000") -> Snapshot:
    """A poll that was not."""
    return Snapshot(server=server, at=at, state="silent", error=error)


def polls(at: float, late: float = 1.0) -> list[Snapshot]:
    """One poll of every server at a moment; `late` is how far the late one has got, 0 to 1."""
    wave = 0.05 * math.sin(at / 40)
    high = 0.5 + 1.21 * late
    fra_02 = (gpu(0, 16, 0.5 * high), gpu(1, 17, 0.6 * high), gpu(2, 18, 0.7 * high), gpu(3, 20, high, **_HOT))
    gone = at > NOW - 73
    return [
        snapshot("asr-fra-01", at, tuple(gpu(i, 10 + i % 2, 0.55 + wave + 0.02 * i) for i in range(4))),
        snapshot("asr-fra-02", at, fra_02, "degraded"),
        snapshot("asr-ams-01", at, tuple(gpu(i, 9, 0.58) for i in range(4))),
        silence("asr-ams-02", at) if gone else snapshot("asr-ams-02", at, (gpu(0, 36, 0.7, slots=72),)),
    ]


_HOT = {
    "temperature_celsius": 84.0,
    "power_watts": 655.0,
    "sm_clock_hertz": 1.44e9,
    "throttle_reasons": "power cap",
    "busy_ratio": 0.97,
}


def board() -> FleetState:
    """Five minutes of polls, a poll every ten seconds."""
    made = FleetState()
    made.plans, made.alerts, made.events = (plan_of(),), ALERTS, EVENTS
    for step in range(31):
        at = NOW - 300 + 10 * step
        for poll in polls(at, late=step / 30):
            made.take(poll, next_try_at=NOW + 4)
    return made


def world(**changes: object) -> World:
    """The world of 14:03:27."""
    made = board().world(NOW, cost=DashboardCost(0.021, 0.0042, 71e6))
    return msgspec.structs.replace(made, **changes)


def member(name: str, used: int = 3, free: int | None = None, **said: object) -> Member:
    """A server of eight slots on two GPUs that is well."""
    made = Member(
        name=name, state="live", server_id=f"id-{name}", slots=8, slots_used=used,
        slots_free=8 - used if free is None else free, streams_active=used, gpus=2, gpus_failed=0, status="healthy",
        lag_p95_s=0.4, age_seconds=0.3,
    )  # fmt: skip
    return msgspec.structs.replace(made, **said)


def lost(name: str, error: str = "the connection was refused", **said: Any) -> Member:  # fields of a member
    """One that answered until 43 s ago."""
    gone: dict[str, Any] = {"state": "silent", "slots_free": None, "streams_active": None, "gpus_failed": None}
    return member(name, **{**gone, "lag_p95_s": None, "status": None, "error": error, "age_seconds": 43.0, **said})


MEMBERS = (
    member("asr-1"),
    member("asr-2", used=8, status="critical"),
    member("asr-3", used=2, free=0, state="draining", status="draining"),
    lost("asr-4"),
    member("asr-5", lag_p95_s=7.5),
    member("asr-6", gpus_failed=1, status="degraded"),
    member("asr-7", age_seconds=31.0),
    member("asr-8", used=0, state="starting", status="starting", lag_p95_s=None),
    lost("asr-9", "was not asked yet", server_id=None, age_seconds=None, slots=None, slots_used=None, gpus=None),
    member("twin-of-1", free=0, server_id="id-asr-1", error="is the same server as asr-1"),
    member("asr-10", used=0, lag_p95_s=9.0),
)


def broker(members: Sequence[Member], name: str = "broker-1", at: float = NOW) -> Snapshot:
    made = snapshot(name, at, (gpu(0, 7, 0.4), gpu(1, 7, 0.4)), "degraded")
    return msgspec.structs.replace(made, members=tuple(members), server_id=f"id-{name}")


def fleet_behind_brokers() -> World:
    """The world of 14:03:27 at who runs two brokers, one of which does not reach a server that the other does."""
    made = FleetState()
    made.take(broker(MEMBERS))
    made.take(broker((*MEMBERS[:1], lost("asr-2", server_id="id-asr-2"), *MEMBERS[2:]), "broker-2"))
    return made.world(NOW, cost=DashboardCost(0.021, 0.0042, 71e6))


class MadeCharts:
    """Charts of an afternoon that gets busier, with twelve minutes in which nothing was recorded."""

    def read(self, charts: Sequence[Chart], until: float, span: int | None, columns: int) -> ChartData:
        span = DEFAULT_SPAN if span is None else span
        step = step_seconds(columns, span)
        since = (until // step + 1) * step - columns * step
        return ChartData(
            span=span,
            series={
                chart.query: ChartSeries(
                    since=since,
                    step=step,
                    values=tuple(self._value(chart, i / max(1, columns - 1)) for i in range(columns)),
                )
                for chart in charts
            },
        )

    def _value(self, chart: Chart, x: float) -> float | None:
        if 0.3 < x < 0.4:
            return None
        rise = 0.25 + 0.55 * x**2 + 0.05 * math.sin(25 * x)
        return chart.top * rise * (1.1 if x > 0.97 else 1.0)


class Still:
    """One moment for ever: for pictures and tests."""

    def __init__(self, world: World, charts: ChartSource | None = None) -> None:
        self._world = world
        self.charts = charts or NoCharts("nothing is recorded")

    def world(self) -> World:
        """Always the same."""
        return self._world

    def refresh(self) -> bool:
        """There is nothing to read."""
        return False

    def close(self) -> None:
        """There is nothing to let go of."""
