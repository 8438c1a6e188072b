"""What the streams of the first level that failed were waiting for."""

from capacity.planner.evidence import Evidence
from whisper_ops.history import LevelRecord
from whisper_ops.objective.findings import OtherLoad
from whisper_ops.objective.judgement import findings_of
from whisper_ops.plan.plan_document import Capacity, QueueCauses
from whisper_ops.plan.resource_kinds import HOST_CPU, SERVER_CORE, STEP_TIME

_BUSY = 0.9
"""From this share on, a processor that does one thing at a time is what the streams wait for."""


def first_failed(evidence: Evidence) -> LevelRecord:
    """The smallest level that missed the objective, of the repeats that count."""
    return first_failed_repeats(evidence)[0]


def first_failed_repeats(evidence: Evidence) -> list[LevelRecord]:
    """All repeats of that level that missed it; a short one does not count where there are long ones."""
    for levels in evidence.repeats().values():
        if failed := [level for level in levels if not level.passed]:
            return failed
    raise ValueError("no level failed")


def disturbed(evidence: Evidence) -> bool:
    """Whether other programs had the processors at the smallest level that failed."""
    return any(
        isinstance(finding, OtherLoad) for level in first_failed_repeats(evidence) for finding in findings_of(level)
    )


def busy_at_first_failure(evidence: Evidence, capacity: Capacity) -> QueueCauses | None:
    """What was busy where the objective was missed first; None: nothing that was measured, or it was never missed."""
    if capacity.status != "identified" or not evidence.levels:
        return None
    level = first_failed(evidence)
    shares = {
        SERVER_CORE: level.front_cpu_ratio,
        STEP_TIME: level.server_busy_ratio,
        HOST_CPU: level.host_cpu_ratio,
    }
    for finding in findings_of(level):
        if isinstance(finding, OtherLoad):
            shares[STEP_TIME if finding.gpu else HOST_CPU] = None  # not the server's doing
    known = {kind: share for kind, share in shares.items() if share is not None and share >= _BUSY}
    kind = max(known, key=lambda kind: known[kind], default=None)
    return None if kind is None else QueueCauses(kind, known[kind])
