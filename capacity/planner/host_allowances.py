"""What the host's tables allow by arithmetic alone: ports at a proxy, connection tracking, and the network card.

Nothing is fitted here: a connection takes one entry or one port by the way TCP works, and its audio is 256 kbit/s
of 16-bit samples at 16 kHz, plus the headers of WebSocket frames and of TCP and IP packets.
"""

import math
import platform

from capacity.planner.caps import Caps
from whisper_ops.plan.plan_document import Resource
from whisper_ops.plan.resource_kinds import CONNECTION_TRACKING, NETWORK, PORTS
from whisper_ops.plan_key import PlanKey

AUDIO_BYTES_PER_SECOND = 32_000.0
FRAME_BYTES, PACKET_BYTES, PAYLOAD_BYTES = 8, 52, 1448
"""Headers of a masked WebSocket frame over 125 bytes; TCP 32 with timestamps and IPv4 20; what fits into 1,500."""
ONLY_BEHIND_A_PROXY = (PORTS,)
"""Rows that bind only where a proxy runs on the server's machine, which is not known; so they never set the limit."""
_SHARE = 0.9
_USUAL_CHUNK_SECONDS = 0.1


def allowances(key: PlanKey, caps: Caps) -> tuple[Resource, ...]:
    """The rows whose figures the host told; a plan's table shows each with where it was read."""
    host = caps.host
    rows = []
    if host.port_range_low is not None and host.port_range_high is not None:
        ports = float(host.port_range_high - host.port_range_low + 1)
        law = "1 a connection, where a proxy runs on this machine"
        rows.append(_row(PORTS, law, ports, f"{ports:,.0f} ports", 1.0, key, "read from the host"))
    if host.conntrack_max is not None:
        entries = float(host.conntrack_max)
        rows.append(
            _row(
                CONNECTION_TRACKING,
                "1 entry a connection",
                entries,
                f"{entries:,.0f} entries",
                1.0,
                key,
                "read from the host",
            )
        )
    speed = card_bytes_per_second(host.hostname)
    if speed is not None:
        each = stream_bytes_per_second(key.chunk_seconds)
        law = f"{each / 1000:.1f} kB/s a connection"
        cap = f"{speed * _SHARE / 1e6:,.0f} MB/s ({_SHARE:.0%})"
        rows.append(
            _row(NETWORK, law, speed * _SHARE, cap, each, key, "256 kbit/s of audio + headers; the card's speed")
        )
    return tuple(rows)


def stream_bytes_per_second(chunk_seconds: float | None) -> float:
    """What one connection sends: 16-bit audio at 16 kHz in frames of `chunk_seconds`."""
    chunk = chunk_seconds or _USUAL_CHUNK_SECONDS
    frame = AUDIO_BYTES_PER_SECOND * chunk + FRAME_BYTES
    return (frame + PACKET_BYTES * math.ceil(frame / PAYLOAD_BYTES)) / chunk


def card_bytes_per_second(hostname: str | None) -> float | None:
    """The speed of the slowest card that is up, where the server ran on this machine; None elsewhere or unsaid."""
    if hostname is None or hostname != platform.node():
        return None
    from whisper_ops.telemetry.host import network_bytes_per_second  # noqa: PLC0415  # psutil, which few plans need

    return network_bytes_per_second()


def _row(kind: str, law: str, cap: float, cap_text: str, each: float, key: PlanKey, evidence: str) -> Resource:
    limit = cap / each / key.gpus_a_server
    return Resource(
        kind=kind, law=law, unit="", cap=None, cap_text=cap_text, limit=limit, low=limit, high=limit,
        evidence=evidence, status="identified",
    )  # fmt: skip


def binding(resources: tuple[Resource, ...]) -> list[Resource]:
    """Without the rows that only bind behind a proxy."""
    return [row for row in resources if row.kind not in ONLY_BEHIND_A_PROXY]
