"""What a server says about itself before it is filled: a line on top, and what cannot be judged while that holds."""

from collections.abc import Sequence

import msgspec

from capacity.checklist.check_results import CheckResult, check_result
from whisper_ops.snapshot import GpuFigures, Snapshot

_TITLE = "the server and every GPU take streams"
_MEND = "find its fault in the server's log and in /gpu-status, and start the server again"


class ReportedState(msgspec.Struct, frozen=True):
    """Read from the parts of one `/snapshot` that are `/health` and `/gpu-status`."""

    refusal_reason: str | None
    """Why it admits no stream; None: it admits some."""
    failed: tuple[GpuFigures, ...]

    @property
    def reason(self) -> str | None:
        """Everything that is wrong, in a few words; None: nothing is."""
        return "; ".join(filter(None, [self.refusal_reason, *(_failure(gpu) for gpu in self.failed)])) or None

    def line(self, snapshot: Snapshot) -> CheckResult:
        """The top of the list."""
        ready = sum(gpu.state == "ready" for gpu in snapshot.gpus)
        status = snapshot.figures.status if snapshot.figures is not None else None
        states_known = any(gpu.state is not None for gpu in snapshot.gpus)
        count = (
            f"{ready} of {len(snapshot.gpus)} GPUs ready"
            if states_known
            else f"it does not say which of {len(snapshot.gpus)} GPUs are ready"
        )
        well = f"{status or 'no health state'}; {count}"
        return check_result(_TITLE, self.reason is None, self.reason or well, self._advice())

    def _advice(self) -> str:
        if self.refusal_reason is not None and not self.failed:
            return "check it again when it takes streams; `DELETE /admin/drain` calls a drain off"
        return _MEND


def reported_state(snapshot: Snapshot) -> ReportedState:
    """Read it from the first poll."""
    failed = tuple(gpu for gpu in snapshot.gpus if gpu.state == "failed")
    status = snapshot.figures.status if snapshot.figures is not None else None
    if status in {"draining", "starting"}:
        return ReportedState(f"the server is {status}", failed)
    return ReportedState("no GPU takes streams" if failed and len(failed) == len(snapshot.gpus) else None, failed)


def not_applicable(checks: Sequence[str], reason: str) -> list[CheckResult]:
    """These lines, each with the reason why it says nothing now."""
    return [check_result(check, None, reason, "") for check in checks]


def _failure(gpu: GpuFigures) -> str:
    times = f" after {gpu.restarts} restarts of its worker" if gpu.restarts else ""
    return f"GPU {gpu.gpu_id} failed{times}"
