"""How full a server or a fleet is, as `/health` says it."""

from whisper_ops.wire import HealthStatus, SlotCapacity

_DEGRADED_SHARE, _CRITICAL_SHARE = 0.7, 0.9
"""Of the slots, in use; the published server's thresholds."""


def slot_capacity(total: int, used: int) -> SlotCapacity:
    """The wire's slots; more may be used than there are, when a limit was lowered."""
    return SlotCapacity(
        total_slots=total,
        used_slots=used,
        available_slots=max(0, total - used),
        utilization_percent=round(100 * used / total, 2) if total else 0.0,
    )


def load_status(total: int, used: int, *, has_failures: bool) -> HealthStatus:
    """The status of what takes streams: `critical` above 90 % of its slots, `degraded` from 70 % or with a failure."""
    share = used / total if total else 1.0
    if share > _CRITICAL_SHARE:
        return "critical"
    return "degraded" if share >= _DEGRADED_SHARE or has_failures else "healthy"
