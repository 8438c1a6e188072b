"""The dashboard and the load test see the same server: one client asks for both."""

from collections.abc import Callable

import msgspec
import pytest

from capacity.loadtest.target import open_source, parse_target, poll_once, reach
from dashboard.polling.poller import Poller
from dashboard.polling.server_list import from_argument
from dashboard.polling.sources.factory import make
from tests.dashboard.sockets import answering_paths, http, listening, said
from whisper_ops.snapshot import Snapshot

LIVEKIT = {"/health": b'{"status":"ok","backend":"faster-whisper","ready":true}'}
PUBLISHED = {
    "/health": b'{"status":"healthy","capacity":{"total_slots":8,"used_slots":2}}',
    "/gpu-status": b'{"total_gpus":2,"max_connections_per_gpu":4,"gpus":[{"gpu_id":0,"name":"H100"}]}',
    "/performance": b'{"active_connections":2,"total_completed_connections":7,"averages":{"setup_time_ms":"250"}}',
}
ODD = {"/snapshot": b'{"status":"of another program"}', "/health": b"<html>"}
SERVERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "whisper-ops": lambda: {"/snapshot": msgspec.json.encode(said())},
    "published": lambda: PUBLISHED,
    "whisperlivekit": lambda: LIVEKIT,
    "another program": lambda: ODD,
    "nothing": dict,
}


def bare(poll: Snapshot) -> Snapshot:
    """Without what differs from poll to poll."""
    return msgspec.structs.replace(poll, at=0.0, poll_seconds=None)


@pytest.mark.parametrize("kind", SERVERS)
async def test_both_read_the_same_snapshot_of_every_kind_of_server(kind: str) -> None:
    pages = SERVERS[kind]()
    async with listening(answering_paths(pages, http(b"{}", status="404 Not Found"))) as port:
        target, poller = parse_target(f"127.0.0.1:{port}"), Poller(make(from_argument(f"127.0.0.1:{port}")))
        async with open_source(target) as source:
            swept = [await poll_once(source), await poll_once(source)]
        shown = [await poller.once(), await poller.once()]
        first = await reach(target)
        await poller.close()
    assert [bare(poll) for poll in swept] == [bare(poll) for poll in shown]
    assert bare(first) == bare(shown[0])
    assert (swept[0].state == "silent") == (kind in {"another program", "nothing"})
