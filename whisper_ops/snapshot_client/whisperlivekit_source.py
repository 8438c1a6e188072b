"""WhisperLiveKit: its `/health` says that it runs and with which backend; it has no figures."""

import time

import msgspec

from whisper_ops import known_software
from whisper_ops.http_answers import MAX_REPLY_BYTES
from whisper_ops.identity import Identity
from whisper_ops.lenient_json import NotJsonError, OtherShapeError, decode
from whisper_ops.server_names import default_name
from whisper_ops.snapshot import ServerFigures, Snapshot
from whisper_ops.snapshot_client.http_client import Access, HttpClient
from whisper_ops.snapshot_client.source import OtherServerError, Remarks


class _Health(msgspec.Struct):
    status: str
    ready: bool = True
    backend: str | None = None


class WhisperLiveKitSource:
    """Polls `URL/health`."""

    def __init__(self, url: str, *, name: str | None = None, access: Access | None = None) -> None:
        self.name = name or default_name(url)
        self.remarks = Remarks()
        self._http = HttpClient(url, access)

    async def read(self) -> Snapshot:
        """One poll: starting until the model is loaded, healthy after that."""
        began = time.perf_counter()
        answer = await self._http.get("/health", MAX_REPLY_BYTES)
        try:
            health, _ = decode(answer.body, _Health)
        except (NotJsonError, OtherShapeError) as error:
            raise OtherServerError(f"{self.name} answered something else than WhisperLiveKit does: {error}") from error
        return Snapshot(
            server=self.name,
            at=time.time(),
            poll_seconds=time.perf_counter() - began,
            identity=Identity(software=known_software.WHISPERLIVEKIT, engine=health.backend),
            figures=ServerFigures(status="healthy" if health.ready and health.status == "ok" else "starting"),
        )

    async def close(self) -> None:
        await self._http.close()
