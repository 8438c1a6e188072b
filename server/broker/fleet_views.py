"""The fleet in a server's wire types, so that every reader of a server can read a fleet.

A silent member adds no slots and no streams; its GPUs are listed as failed, with the reason. A draining member's used
slots count, its free ones do not.
"""

import time
from collections.abc import Iterable

import msgspec

from server.broker.fleet import Fleet
from server.broker.fleet_hosts import combined_host
from server.broker.member import FleetMember
from server.sessions.slot_usage import load_status, slot_capacity
from whisper_ops import __version__, wire

_UNKNOWN = dict.fromkeys(
    (
        "total_memory_gb", "allocated_memory_gb", "free_memory_gb", "utilization_percent", "gpu_utilization_percent",
        "temperature_celsius", "power_watts", "sm_clock_hertz", "throttle_reasons", "other_processes",
        "other_busy_ratio", "speaking_streams",
        "batch_fill_mean", "queue_wait_seconds_p95", "compute_seconds_p95", "busy_ratio", "audio_seconds_per_second",
        "lag_seconds_p95", "process_rss_bytes", "process_cpu_ratio", "engine_allocated_gb", "engine_reserved_gb",
    )
)  # fmt: skip


class FleetViews:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._numbers: dict[tuple[str, int], int] = {}
        """The fleet-wide id of each member's GPU, by address and its own id; it is stable while the member stays."""

    # --- parts --------------------------------------------------------------------------------------

    def _answering(self) -> list[tuple[FleetMember, wire.ServerSnapshot]]:
        members = self._fleet.distinct_members()
        return [(one, one.snapshot) for one in members if one.snapshot is not None and one.state != "silent"]

    def streams(self) -> tuple[int, int]:
        """Live streams and slots, without the rest of `health`: every answer to /connect has them."""
        answering = self._answering()
        active = sum(snapshot.performance.active_connections for _, snapshot in answering)
        return active, sum(_capacity(member, snapshot)[0] for member, snapshot in answering)

    def health(self) -> wire.Health:
        """`GET /health`."""
        answering = self._answering()
        capacities = [_capacity(member, snapshot) for member, snapshot in answering]
        total, used = sum(total for total, _ in capacities), sum(used for _, used in capacities)
        performances = [snapshot.performance for _, snapshot in answering]
        gpus = [gpu for _, snapshot in answering for gpu in snapshot.gpu_status.gpus]
        return wire.Health(
            status=self._status(total, used),
            timestamp=time.time(),
            capacity=slot_capacity(total, used),
            gpus=wire.GpuCount(
                total=len(self._gpus()), with_connections=sum(gpu.active_connections > 0 for gpu in gpus)
            ),
            performance=wire.HealthPerformance(
                total_completed_connections=self.performance().total_completed_connections,
                active_connections=sum(one.active_connections for one in performances),
            ),
        )

    def _status(self, total: int, used: int) -> wire.HealthStatus:
        members = self._fleet.distinct_members()
        states = [member.state for member in members]
        if self._fleet.draining or (states and set(states) <= {"draining", "silent"} and "draining" in states):
            return "draining"
        if "live" not in states:
            return "starting"
        has_failures = "silent" in states or any(
            gpu.state == "failed" for member in members for gpu in _gpus_of(member)
        )
        return load_status(total, used, has_failures=has_failures)

    def _gpus(self) -> list[wire.GpuEntry]:
        entries = []
        members = self._fleet.distinct_members()
        known = {(member.address.url, gpu.gpu_id) for member in members for gpu in _gpus_of(member)}
        self._numbers = {key: number for key, number in self._numbers.items() if key in known}
        for member in members:
            for gpu in _gpus_of(member):
                number = self._number(member.address.url, gpu.gpu_id)
                entries.append(msgspec.structs.replace(_entry(member, gpu), gpu_id=number, server=member.name))
        return sorted(entries, key=lambda entry: entry.gpu_id)[: wire.MAX_GPUS]

    def _number(self, member: str, gpu_id: int) -> int:
        number = self._numbers.get((member, gpu_id))
        if number is None:
            taken = set(self._numbers.values())
            number = next(free for free in range(len(taken) + 1) if free not in taken)
            self._numbers[member, gpu_id] = number
        return number

    def gpu_status(self) -> wire.GpuStatus:
        """`GET /gpu-status`."""
        statuses = [snapshot.gpu_status for _, snapshot in self._answering()]
        gpus = self._gpus()
        return wire.GpuStatus(
            total_gpus=len(gpus),
            total_connections=sum(status.total_connections for status in statuses),
            max_connections_per_gpu=max((status.max_connections_per_gpu for status in statuses), default=0),
            gpus=tuple(gpus),
            reading_error=next((status.reading_error for status in statuses if status.reading_error), None),
        )

    def performance(self) -> wire.Performance:
        """`GET /performance`."""
        live = [snapshot.performance for _, snapshot in self._answering()]
        return self._fleet.totals.performance(live, self._fleet.refused)

    def engine(self) -> wire.EngineEntry:
        """The members' engine; where they differ, all names joined, which is a plan key of its own."""
        engines = [snapshot.engine for _, snapshot in self._answering()]
        if not engines:
            return wire.EngineEntry(name="unknown", model="unknown")
        batches = {engine.max_batch for engine in engines}
        return wire.EngineEntry(
            name=_joined_names(engine.name for engine in engines),
            model=_joined_names(engine.model for engine in engines),
            compute_type=_joined_names(engine.compute_type for engine in engines) or None,
            max_batch=batches.pop() if len(batches) == 1 else None,
            simulated=any(engine.simulated for engine in engines),
            languages=_joined_names(engine.languages for engine in engines) or None,
        )

    def snapshot(self) -> wire.ServerSnapshot:
        """`GET /snapshot`."""
        answering = self._answering()
        return wire.ServerSnapshot(
            health=self.health(),
            gpu_status=self.gpu_status(),
            performance=self.performance(),
            host=combined_host([snapshot.host for _, snapshot in answering]),
            engine=self.engine(),
            version=_joined_names(snapshot.version for _, snapshot in answering) or __version__,
            started_at=self._fleet.started_at,
            server_id=self._fleet.broker_id,
            members=tuple(member.as_wire() for member in self._fleet.members.values()),
        )


def _capacity(member: FleetMember, snapshot: wire.ServerSnapshot) -> tuple[int, int]:
    """Total and used slots that count for the fleet."""
    capacity = snapshot.health.capacity
    used = capacity.used_slots
    return (used if member.state == "draining" else capacity.total_slots), used


def _gpus_of(member: FleetMember) -> tuple[wire.GpuEntry, ...]:
    return member.snapshot.gpu_status.gpus if member.snapshot is not None else ()


def _entry(member: FleetMember, gpu: wire.GpuEntry) -> wire.GpuEntry:
    if member.state != "silent":
        return gpu
    gone = msgspec.structs.replace(gpu, state="failed", active_connections=0, connection_ids=(), **_UNKNOWN)
    return msgspec.structs.replace(gone, reading_error=f"{member.name} does not answer: {member.error}")


def _joined_names(names: Iterable[str | None]) -> str:
    return " + ".join(sorted({name for name in names if name}))
