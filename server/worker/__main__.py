"""`python -m server.worker FD plain|json`: the process that the supervisor starts, with its end of a socket pair."""

import asyncio
import contextlib
import signal
import socket
import sys

from server import logs
from server.worker.process import Worker


async def _serve(descriptor: int) -> None:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    worker = Worker()
    await asyncio.get_running_loop().create_connection(lambda: worker.channel, sock=sock)
    await worker.finished.wait()


def main() -> None:
    """Serve until the front process hangs up."""
    # Both reach the whole process group, but only the front process decides when its workers end: by hanging up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ModuleNotFoundError):
        import uvloop  # noqa: PLC0415  # not on every platform, and asyncio's own loop serves as well

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    logs.set_up(as_json=sys.argv[2] == "json")
    asyncio.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
