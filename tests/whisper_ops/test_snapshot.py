"""From a server's words to figures in base units, unknown staying unknown."""

import msgspec

from whisper_ops import wire
from whisper_ops.histogram import BUCKETS
from whisper_ops.snapshot import from_wire

ANSWER = {
    "health": {
        "status": "degraded",
        "timestamp": 1698765432.123,
        "capacity": {"total_slots": 4, "used_slots": 3, "available_slots": 1, "utilization_percent": 75.0},
        "gpus": {"total": 2, "with_connections": 2},
        "performance": {"total_completed_connections": 127, "active_connections": 3},
    },
    "gpu_status": {
        "total_gpus": 2,
        "total_connections": 3,
        "max_connections_per_gpu": 2,
        "gpus": [
            {
                "gpu_id": 0,
                "active_connections": 2,
                "connection_ids": ["a", "b"],
                "total_memory_gb": 80.0,
                "allocated_memory_gb": 14.9,
                "free_memory_gb": 65.1,
                "utilization_percent": 18.6,
                "name": "H100",
                "state": "ready",
                "gpu_utilization_percent": 81.0,
                "throttle_reasons": ["power cap", "thermal"],
                "speaking_streams": 1,
            },
            {"gpu_id": 1, "active_connections": 1, "throttle_reasons": [], "a_field_of_tomorrow": 1},
        ],
    },
    "performance": {
        "total_completed_connections": 127,
        "active_connections": 3,
        "averages": {"setup_time_ms": 250.0},
        "latency": {"lag_p95_s": 0.9, "lag_bucket_counts": [1, 2]},
        "rejected_total": {"no_capacity": 3, "lag": 2},
    },
    "host": {"cpu_count": 24, "memory_total_bytes": 64000000000},
    "engine": {"name": "ctranslate2", "model": "large-v3-turbo", "compute_type": "float16", "max_batch": 16},
    "version": "1.2.0",
}


def test_a_servers_answer_becomes_figures_in_base_units() -> None:
    said = msgspec.convert(ANSWER, wire.ServerSnapshot)
    snapshot = from_wire("asr-fra-01:8000", 1698765432.5, 0.012, said)
    assert snapshot.identity is not None
    assert (snapshot.identity.model, snapshot.identity.gpu_name) == ("large-v3-turbo", "H100")
    figures = snapshot.figures
    assert figures is not None
    assert (figures.status, figures.slots, figures.slots_used, figures.rejected_total) == ("degraded", 4, 3, 5)
    assert (figures.setup_mean_seconds, figures.lag_p95_seconds, figures.lag_bucket_counts) == (0.25, 0.9, None)
    first, second = snapshot.gpus
    assert (first.memory_total_bytes, first.gpu_ratio, first.throttle_reasons) == (80e9, 0.81, "power cap,thermal")
    assert second.throttle_reasons == ""
    assert snapshot.host is not None
    assert snapshot.host.cpu_count == 24


def test_what_was_not_measured_stays_unknown() -> None:
    snapshot = from_wire("one", 0, 0, msgspec.convert(ANSWER, wire.ServerSnapshot))
    assert snapshot.figures is not None
    assert snapshot.host is not None
    second = snapshot.gpus[1]
    unknown = (second.temperature_celsius, second.memory_used_bytes, second.busy_ratio, snapshot.host.cpu_ratio)
    assert unknown == (None, None, None, None)
    assert (snapshot.figures.started_at, snapshot.figures.lag_p50_seconds) == (None, None)


def test_json_of_a_missing_number_is_null() -> None:
    assert wire.encode(wire.Latency(lag_p50_s=float("nan"))).startswith(b'{"lag_p50_s":null')


def test_buckets_hold_what_was_counted_since_the_poll_before() -> None:
    def said(*counts: int) -> wire.ServerSnapshot:
        answer = msgspec.convert(ANSWER, wire.ServerSnapshot)
        latency = wire.Latency(lag_bucket_counts=(*counts, *[0] * (BUCKETS - len(counts))))
        return msgspec.structs.replace(answer, performance=msgspec.structs.replace(answer.performance, latency=latency))

    def counted(now: wire.ServerSnapshot, before: wire.ServerSnapshot | None) -> tuple[int, ...] | None:
        figures = from_wire("one", 0, 0, now, before).figures
        assert figures is not None
        return figures.lag_bucket_counts

    assert counted(said(5, 7), None) is None
    assert counted(said(5, 7), said(5, 4)) == (0, 3, *[0] * (BUCKETS - 2))
    # A restarted server counts from 0 again: everything is new.
    assert counted(said(1, 1), said(5, 4)) == (1, 1, *[0] * (BUCKETS - 2))
