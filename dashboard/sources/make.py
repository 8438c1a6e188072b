"""The source for each kind of server."""

from pathlib import Path

from dashboard.servers import Server
from dashboard.sources.local import LocalSource
from whisper_ops.exporters.mapping import load, ready_made
from whisper_ops.snapshot_client.asking import AskingSource, Kind
from whisper_ops.snapshot_client.exporter_page import PrometheusSource
from whisper_ops.snapshot_client.published_endpoints import PublishedSource
from whisper_ops.snapshot_client.snapshot_endpoint import WhisperOpsSource
from whisper_ops.snapshot_client.source import Source
from whisper_ops.snapshot_client.whisperlivekit import WhisperLiveKitSource


def make(server: Server, token: str | None = None, at: str | None = None) -> Source:
    """What polls `server`; `token` is used where it has none of its own; `at` is the address of one of its replicas.

    Raises:
        UserError: its token or mapping cannot be read, or the mapping is wrong.
    """
    if server.kind == "local":
        return LocalSource(server.label)
    name = server.label if at is None else f"{server.label}/{at}"
    token = server.token(token)
    if server.kind in _ASKED:
        return AskingSource(name, [_kind(kind, server.url, name, token, at) for kind in _ASKED[server.kind]])
    mapping = ready_made(server.kind) if server.mapping is None else load(Path(server.mapping))
    return PrometheusSource(server.url, mapping, name=name, token=token, at=at)


_KINDS: dict[str, tuple[type[WhisperOpsSource | PublishedSource | WhisperLiveKitSource], str]] = {
    "whisper-ops": (WhisperOpsSource, ""),
    "published": (
        PublishedSource,
        "has no /snapshot: it is read by the published endpoints /health, /gpu-status and /performance",
    ),
    "whisperlivekit": (WhisperLiveKitSource, "is a WhisperLiveKit: it says that it runs, and has no figures"),
}
_ASKED = {
    "whisper-ops": ("whisper-ops", "published", "whisperlivekit"),
    "whisperlivekit": ("published", "whisperlivekit"),
}
"""What a server of a kind may turn out to be, in the order in which it is asked."""


def _kind(kind: str, url: str, name: str, token: str | None, at: str | None) -> Kind:
    source, remark = _KINDS[kind]
    return Kind(lambda: source(url, name=name, token=token, at=at), remark)
