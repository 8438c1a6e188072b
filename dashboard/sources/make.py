"""The source for each kind of server."""

from pathlib import Path

from dashboard.mapping import load, ready_made
from dashboard.servers import Server
from dashboard.source import Source
from dashboard.sources.local import LocalSource
from dashboard.sources.prometheus import PrometheusSource
from dashboard.sources.whisper_ops import WhisperOpsSource
from dashboard.sources.whisperlivekit import WhisperLiveKitSource


def make(server: Server, token: str | None = None, at: str | None = None) -> Source:
    """What polls `server`; `token` is used where it has none of its own; `at` is the address of one of its replicas.

    Raises:
        UserError: its token or mapping cannot be read, or the mapping is wrong.
    """
    if server.kind == "local":
        return LocalSource(server.label)
    name = server.label if at is None else f"{server.label}/{at}"
    token = server.token(token)
    match server.kind:
        case "whisper-ops":
            return WhisperOpsSource(server.url, name=name, token=token, at=at)
        case "whisperlivekit":
            return WhisperLiveKitSource(server.url, name=name, token=token, at=at)
        case _:
            mapping = ready_made(server.kind) if server.mapping is None else load(Path(server.mapping))
            return PrometheusSource(server.url, mapping, name=name, token=token, at=at)
