"""Servers of other makes with only the published endpoints, found by asking and read in base units."""

import asyncio
import json
from collections.abc import Callable

import pytest

from dashboard.polling.poller import Poller
from dashboard.polling.server_list import from_argument
from dashboard.polling.sources.factory import make
from tests.dashboard.sockets import Answer, answering, http, listening, said
from whisper_ops import wire
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot
from whisper_ops.snapshot_client.exporter_source import PrometheusSource
from whisper_ops.snapshot_client.source import SourceError

HEALTH = {
    "status": "healthy", "timestamp": 1698765432.123,
    "capacity": {"total_slots": 16, "used_slots": 8, "available_slots": 8, "utilization_percent": 50.0},
    "gpus": {"total": 4, "with_connections": 4},
    "performance": {"total_completed_connections": 127, "active_connections": 8},
}  # fmt: skip
GPU_STATUS = {
    "total_gpus": 4, "total_connections": 8, "max_connections_per_gpu": 4,
    "gpus": [
        {"gpu_id": i, "active_connections": 2, "connection_ids": ["a", "b"], "total_memory_gb": 24.0,
         "allocated_memory_gb": 5.5, "free_memory_gb": 18.5, "utilization_percent": 22.9}
        for i in range(4)
    ],
}  # fmt: skip
PERFORMANCE = {
    "total_completed_connections": 127, "active_connections": 8,
    "averages": {"setup_time_ms": 420.5, "connection_duration_s": 31.0, "audio_chunks_per_connection": 310.0,
                 "transcriptions_per_connection": 12.0},
    "extremes": {"slowest_setup_ms": 900.0, "fastest_setup_ms": 80.0},
}  # fmt: skip
PAGE = """whisperlivekit_gpu_total 2
whisperlivekit_connections_active{gpu="0"} 3
whisperlivekit_connections_active{gpu="1"} 2
whisperlivekit_gpu_memory_allocated_gb{gpu="0"} 5.5
whisperlivekit_gpu_memory_allocated_gb{gpu="1"} 6
whisperlivekit_setup_time_ms_avg 420.5
"""


def pages(**others: object) -> dict[str, object]:
    return {"/health": HEALTH, "/gpu-status": GPU_STATUS, "/performance": PERFORMANCE} | {
        f"/{path.replace('_', '-')}": body for path, body in others.items()
    }


def answers(known: Callable[[], dict[str, object]], asked: list[str] | None = None) -> Answer:
    """A server with these pages, and 404 everywhere else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ")[1].decode()
            if asked is not None:
                asked.append(path)
            body = known().get(path)
            missing = http(b"Not Found", status="404 Not Found", kind="text/plain")
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            writer.write(missing if body is None else http(raw))
            await writer.drain()

    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            return

    return until_gone


async def read(known: dict[str, object], kind: str = "") -> Snapshot:
    async with listening(answers(lambda: known)) as port:
        source = make(from_argument(f"one={kind}http://127.0.0.1:{port}"))
        try:
            return await source.read()
        finally:
            await source.close()


@pytest.mark.parametrize("kind", ["", "whisperlivekit+"])
async def test_the_published_endpoints_alone_give_slots_gpus_memory_and_setup_times(kind: str) -> None:
    snapshot = await read(pages(), kind)
    assert snapshot.figures == ServerFigures(
        status="healthy", slots=16, slots_used=8, slots_per_gpu=4, streams_active=8, gpus=4, completed_total=127,
        setup_mean_seconds=0.4205, setup_max_seconds=0.9, setup_min_seconds=0.08,
    )  # fmt: skip
    assert snapshot.gpus[3] == GpuFigures(
        gpu_id=3, streams_active=2, slots=4, memory_total_bytes=24e9, memory_used_bytes=5.5e9
    )
    assert len(snapshot.gpus) == 4
    assert snapshot.identity == Identity(software="whisperlivekit")


async def test_what_is_missing_is_unknown() -> None:
    snapshot = await read({"/health": {"status": "degraded", "capacity": {"total_slots": 4, "available_slots": 1}}})
    assert snapshot.figures == ServerFigures(status="degraded", slots=4, slots_used=3)
    assert snapshot.gpus == ()
    fresh = PERFORMANCE | {"total_completed_connections": 0, "averages": {"setup_time_ms": 0}, "extremes": {}}
    snapshot = await read(pages(performance=fresh))
    assert snapshot.figures is not None
    assert snapshot.figures.setup_mean_seconds is None, "a mean of nothing"


async def test_once_found_it_is_asked_for_nothing_else_and_said_once() -> None:
    asked: list[str] = []
    async with listening(answers(pages, asked)) as port:
        source = make(from_argument(f"http://127.0.0.1:{port}"))
        for _ in range(3):
            await source.read()
        await source.close()
    assert asked.count("/snapshot") == 1
    assert asked.count("/health") == 3
    (remark,) = source.remarks.take_new()
    assert "has no /snapshot: it is read by the published endpoints" in remark


async def test_a_server_that_comes_back_as_ours_is_read_as_ours() -> None:
    known = pages()
    async with listening(answers(lambda: known)) as port:
        poller = Poller(make(from_argument(f"http://127.0.0.1:{port}")))
        first = await poller.once()
        known.clear()
        gone = await poller.once()
        known["/snapshot"] = wire.encode(said())
        second = await poller.once()
        await poller.close()
    softwares = [snapshot.identity and snapshot.identity.software for snapshot in (first, second)]
    assert softwares == ["whisperlivekit", "whisper-ops"]
    assert gone.state == "silent"


async def test_an_original_whisperlivekit_is_known_without_its_prefix() -> None:
    snapshot = await read({"/health": {"status": "ok", "backend": "faster-whisper", "ready": True}})
    assert snapshot.figures == ServerFigures(status="healthy")
    assert snapshot.identity == Identity(software="whisperlivekit", engine="faster-whisper")


async def test_a_server_that_is_none_of_them_is_said_in_the_first_ones_words() -> None:
    with pytest.raises(SourceError, match=r"has no /snapshot \(404\); is another program"):
        await read({"/health": {"up": True}})
    with pytest.raises(SourceError, match="answered HTML, not JSON"):
        await read(dict.fromkeys(["/snapshot", "/health"], b"<html>welcome"))


async def test_numbers_that_json_has_not_are_unknown_and_the_rest_is_read() -> None:
    odd = json.dumps(GPU_STATUS).replace("24.0", "NaN").replace("5.5", "1e999").encode()
    snapshot = await read(pages(gpu_status=odd))
    assert snapshot.gpus[0].memory_total_bytes is None
    assert snapshot.gpus[0].streams_active == 2


async def test_its_prometheus_names_are_a_mapping() -> None:
    async with listening(answering(lambda: http(PAGE.encode(), kind="text/plain"))) as port:
        source = make(from_argument(f"whisperlivekit-metrics+http://127.0.0.1:{port}"))
        assert isinstance(source, PrometheusSource)
        snapshot = await source.read()
        await source.close()
    assert ready_made("whisperlivekit-metrics").path == "/metrics/prometheus"
    assert snapshot.figures == ServerFigures(gpus=2, streams_active=5, slots_used=5, setup_mean_seconds=0.4205)
    told = [(gpu.gpu_id, gpu.streams_active, gpu.memory_used_bytes) for gpu in snapshot.gpus]
    assert told == [(0, 3, 5.5e9), (1, 2, 6e9)]
