"""How fast a broker hands out addresses, and that it hands out no slot twice: `make bench-broker`.

Four real servers of 16 simulated GPUs and a real broker, on this machine. First 200 questions a second at their own
times, whatever the answers do; then a thousand at once for 512 slots.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from tests.bench.figure import Figure
from tests.support.servers import Running, running_broker, running_server

SERVERS, GPUS = 4, 16
RATE, SECONDS = 200, 20
P99_SECONDS = 0.05
CONCURRENT, SLOTS_A_GPU = 1000, 8
_TICKET_SECONDS = 11
_KEYS = {"WHISPER_OPS_TOKEN": "bench", "WHISPER_OPS_ADMIN_TOKEN": "bench-admin"}


async def ask(port: int) -> tuple[int, float, str]:
    """`GET /connect` as a client does, over a connection of its own: status, seconds, and the address."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(
            b"GET /connect HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer bench\r\nConnection: close\r\n\r\n"
        )
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    url = body.partition(b'"ws_url":"')[2].partition(b'"')[0].decode()
    return int(head.split(None, 2)[1]), time.perf_counter() - began, url


async def paced(port: int) -> tuple[list[tuple[int, float, str]], float]:
    """The answers to questions at their own times, and how late the latest of them was asked, in seconds."""
    began, late, asked = time.perf_counter(), 0.0, []
    for number in range(RATE * SECONDS):
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late = max(late, time.perf_counter() - due)
        asked.append(asyncio.create_task(ask(port)))
    return list(await asyncio.gather(*asked)), late


def used(broker: Running) -> int:
    headers = {"Authorization": "Bearer bench"}
    return int(httpx.get(f"{broker.url}/health", headers=headers).json()["capacity"]["used_slots"])


def set_slots(broker: Running, slots: int) -> None:
    httpx.put(
        f"{broker.url}/admin/limits",
        json={"max_connections_per_gpu": slots},
        headers={"Authorization": "Bearer bench-admin"},
    ).raise_for_status()


def main() -> int:
    os.environ.update(_KEYS)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        simulated = ("--engine", "simulated", "--devices", f"sim:{GPUS}", "--max-connections-per-gpu", "80")
        servers = [stack.enter_context(running_server(folder, *simulated)) for _ in range(SERVERS)]
        broker = stack.enter_context(running_broker(folder, *(server.url for server in servers)))
        asyncio.run(asyncio.wait_for(ask(broker.port), 10))
        process = psutil.Process(broker.process.pid)
        before = sum(process.cpu_times()[:2])
        answers, late = asyncio.run(paced(broker.port))
        spent = sum(process.cpu_times()[:2]) - before
        seconds = sorted(one[1] for one in answers)
        given = [urlsplit(url).port for status, _, url in answers if status == 200]
        spread = [given.count(server.port) for server in servers]
        time.sleep(_TICKET_SECONDS)
        left = used(broker)
        set_slots(broker, SLOTS_A_GPU)

        async def at_once() -> list[tuple[int, float, str]]:
            return list(await asyncio.gather(*(ask(broker.port) for _ in range(CONCURRENT))))

        burst = asyncio.run(at_once())
        handed = len([one for one in burst if one[0] == 200])
        refused = len([one for one in burst if one[0] == 503])
        time.sleep(_TICKET_SECONDS)
        slots = SERVERS * GPUS * SLOTS_A_GPU
        figures = [
            Figure(
                f"addresses of {RATE * SECONDS} questions at {RATE} a second",
                len(given),
                "",
                RATE * SECONDS,
                at_least=True,
            ),
            Figure("question to address, median", seconds[len(seconds) // 2] * 1e3, "ms"),
            Figure(
                "question to address, 99th percentile", seconds[int(len(seconds) * 0.99)] * 1e3, "ms", P99_SECONDS * 1e3
            ),
            Figure("question to address, longest", seconds[-1] * 1e3, "ms"),
            Figure("processor time of the broker, a question", 1e3 * spent / len(answers), "ms"),
            Figure("the latest question was asked so late", late * 1e3, "ms"),
            Figure(
                "most addresses of one server less fewest of another", max(spread) - min(spread), "", 0.02 * len(given)
            ),
            Figure("slots that are held when every ticket has run out", left, "", 0),
            Figure(f"addresses of {CONCURRENT} questions at once, for {slots} slots: no more", handed, "", slots),
            Figure("and no fewer", handed, "", slots, at_least=True),
            Figure("of the others, refused with 503", refused, "", CONCURRENT - slots, at_least=True),
            Figure("the last of them was answered after", max(one[1] for one in burst), "s"),
            Figure("slots that are held when every ticket has run out", used(broker), "", 0),
        ]
    for figure in figures:
        print(figure)  # noqa: T201  # a benchmark's answer
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
