"""What polls a server of a kind, and one poll, of which nothing is raised."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from whisper_ops.exporters.mapping import Mapping
from whisper_ops.known_software import WHISPER_OPS, WHISPERLIVEKIT
from whisper_ops.plausible_ranges import possible
from whisper_ops.server_names import default_name
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.detection import DetectingSource, SourceKind
from whisper_ops.snapshot_client.exporter_source import PrometheusSource
from whisper_ops.snapshot_client.http_client import Access
from whisper_ops.snapshot_client.published_source import PublishedSource
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.snapshot_client.source import Source, SourceError
from whisper_ops.snapshot_client.whisperlivekit_source import WhisperLiveKitSource

_Endpoint: TypeAlias = type[WhisperOpsSource | PublishedSource | WhisperLiveKitSource]
_ENDPOINTS: dict[str, tuple[_Endpoint, str]] = {
    WHISPER_OPS: (WhisperOpsSource, ""),
    "published": (
        PublishedSource,
        "has no /snapshot: it is read by the published endpoints /health, /gpu-status and /performance",
    ),
    WHISPERLIVEKIT: (WhisperLiveKitSource, "is a WhisperLiveKit: it says that it runs, and has no figures"),
}
DETECTED_KINDS = {
    WHISPER_OPS: (WHISPER_OPS, "published", WHISPERLIVEKIT),
    WHISPERLIVEKIT: ("published", WHISPERLIVEKIT),
}
"""Kinds that are found out by asking, and what each may turn out to be, in the order of asking."""


def source_of(
    url: str, kind: str = WHISPER_OPS, *, name: str | None = None, access: Access | None = None
) -> DetectingSource:
    """What polls the server at `url`, of a kind in `DETECTED_KINDS`: it is asked which of them it is."""
    name = name or default_name(url)
    return DetectingSource(name, [_kind(one, url, name, access) for one in DETECTED_KINDS[kind]])


def _kind(endpoint: str, url: str, name: str, access: Access | None) -> SourceKind:
    source, remark = _ENDPOINTS[endpoint]
    return SourceKind(lambda: source(url, name=name, access=access), remark)


def exporter_source(
    url: str, mapping: Mapping, *, name: str | None = None, access: Access | None = None
) -> PrometheusSource:
    """What polls an exporter whose page `mapping` reads."""
    return PrometheusSource(url, mapping, name=name, access=access)


@asynccontextmanager
async def closing_source(source: Source) -> AsyncIterator[Source]:
    """The source, closed when the block is left. Poll a server by one source: its rates are since its last poll."""
    try:
        yield source
    finally:
        await source.close()


async def poll(source: Source, deadline: float) -> Snapshot:
    """Ask once, within `deadline` seconds. A failure is a silent snapshot with its sentence, never an exception."""
    try:
        async with asyncio.timeout(deadline):
            return possible(await source.read(), source.remarks.note)
    except SourceError as error:
        why = str(error)
    except TimeoutError:
        why = f"{source.name} gave no answer within {deadline:g} s"
    except Exception as error:  # noqa: BLE001  # a fault in one source's code must not stop the other pollers
        why = f"reading {source.name} failed unexpectedly: {type(error).__name__}: {error}"
    return Snapshot(server=source.name, at=time.time(), state="silent", error=why)
