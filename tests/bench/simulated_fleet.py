"""Many simulated servers in one process, on real sockets: a hundred to poll, one that hangs and one that is dead.

Run it with `python -m tests.bench.simulated_fleet SERVERS GPUS`: it prints a JSON list of addresses, then serves until
it is stopped. Every answer says that it is simulated.
"""

import asyncio
import json
import math
import random
import socket
import sys
import time

from whisper_ops import wire

SLOTS = 20


class SimulatedServer:
    """Says plausible things that change from second to second, as real fleets do."""

    def __init__(self, number: int, gpus: int) -> None:
        self.number = number
        self.gpus = gpus
        self.started_at = time.time() - 3600 * (1 + number)
        self._random = random.Random(number)
        self._body = b""
        self._said_at = 0.0

    def answer(self) -> bytes:
        """The HTTP answer to `GET /snapshot`; made anew four times a second, as a server's own readings are."""
        if time.monotonic() - self._said_at > 0.25:
            self._body = wire.encode(self.said(time.time()))
            self._said_at = time.monotonic()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(self._body)}\r\n\r\n"
        return head.encode() + self._body

    def said(self, now: float) -> wire.ServerSnapshot:
        """What it says at a moment."""
        entries = tuple(self._gpu(index, now) for index in range(self.gpus))
        used, total = sum(entry.active_connections for entry in entries), SLOTS * self.gpus
        lags = [entry.lag_seconds_p95 or 0.0 for entry in entries]
        status: wire.HealthStatus = (
            "critical" if used > 0.9 * total else "degraded" if used > 0.7 * total else "healthy"
        )
        return wire.ServerSnapshot(
            health=wire.Health(
                status=status,
                timestamp=now,
                capacity=wire.SlotCapacity(
                    total_slots=total,
                    used_slots=used,
                    available_slots=total - used,
                    utilization_percent=100 * used / total,
                ),
                gpus=wire.GpuCount(total=self.gpus, with_connections=self.gpus),
                performance=wire.HealthPerformance(total_completed_connections=4000, active_connections=used),
            ),
            gpu_status=wire.GpuStatus(
                total_gpus=self.gpus, total_connections=used, max_connections_per_gpu=SLOTS, gpus=entries
            ),
            performance=wire.Performance(
                total_completed_connections=4000,
                active_connections=used,
                accepted_total=4000 + used,
                rejected_total={"no_capacity": 0},
                latency=wire.Latency(lag_p50_s=max(lags) * 0.5, lag_p95_s=max(lags), lag_p99_s=max(lags) * 1.3),
            ),
            host=wire.Host(hostname=f"sim-{self.number:03d}", cpu_count=24, cpu_ratio=0.3, open_descriptors=200),
            engine=wire.EngineEntry(name="simulated", model="large-v3-turbo", compute_type="float16", simulated=True),
            version="0.1.0",
            started_at=self.started_at,
        )

    def _gpu(self, index: int, now: float) -> wire.GpuEntry:
        wave = 0.5 + 0.4 * math.sin(now / 60 + self.number + index / 3)
        streams = max(0, min(SLOTS, round(SLOTS * wave + self._random.gauss(0, 0.4))))
        busy = min(0.99, max(0.01, streams / SLOTS * 0.9 + self._random.gauss(0, 0.01)))
        return wire.GpuEntry(
            gpu_id=index,
            name="NVIDIA H100 80GB HBM3",
            uuid=f"GPU-{self.number}-{index}",
            state="ready",
            simulated=True,
            active_connections=streams,
            speaking_streams=round(streams * 0.7),
            max_connections=SLOTS,
            total_memory_gb=80.0,
            allocated_memory_gb=12.4 + 0.168 * streams,
            free_memory_gb=67.6 - 0.168 * streams,
            gpu_utilization_percent=busy * 90,
            busy_ratio=busy,
            temperature_celsius=50 + round(streams * 1.2),
            power_watts=200 + 20 * streams + self._random.gauss(0, 3),
            power_limit_watts=700,
            sm_clock_hertz=1.98e9,
            throttle_reasons=(),
            reading_age_seconds=0.3,
            batch_fill_mean=0.4 * streams,
            queue_wait_seconds_p95=0.1,
            compute_seconds_p95=0.2,
            audio_seconds_per_second=streams * 0.7,
            lag_seconds_p95=max(0.2, 0.4 + busy**4 * 1.6 + self._random.gauss(0, 0.02)),
            restarts=0,
        )


async def start(servers: int, gpus: int, *, hung: bool = True, dead: bool = True) -> list[str]:
    """Start them on free ports of 127.0.0.1; returns their addresses. The hung and the dead one are among the count."""
    urls = []
    for number in range(servers - hung - dead):
        simulated = SimulatedServer(number, gpus)

        async def talk(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, simulated: SimulatedServer = simulated
        ) -> None:
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(simulated.answer())
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        urls.append(await _listen(talk))
    if hung:

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        urls.append(await _listen(hang))
    if dead:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            urls.append(f"http://127.0.0.1:{probe.getsockname()[1]}")
    return urls


_LISTENING: list[asyncio.Server] = []


async def _listen(talk) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    _LISTENING.append(server)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def main(servers: int, gpus: int) -> None:
    """Serve until stopped."""
    sys.stdout.write(json.dumps(await start(servers, gpus)) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
