"""The limit that a server told `auto` starts with: that of the newest plan for what it runs, else a safe one."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS, Identity
from whisper_ops.plan.plan_lookup import plan_for
from whisper_ops.telemetry.nvml import gpu_names

SAFE_LIMIT = 2
"""Without a plan: what the slowest device that is of any use carries; the lag guard watches the rest."""
LAG_GUARD_SECONDS = 2.0
"""New streams are refused while p95 lag is above it."""


class AutoLimit(msgspec.Struct, frozen=True):
    """A limit, and the sentence that says where it comes from."""

    max_connections_per_gpu: int
    origin: str


def planned_limit(history: Path, running: Identity) -> AutoLimit:
    """The newest plan for what runs here, or a safe limit and the command that would make a plan.

    `running` is what a server knows about itself before its workers are up; what it does not know is not compared.

    Raises:
        UserError: the history is there and cannot be read.
    """
    plan = _newest(history, running) if history.exists() else None
    if plan is None:
        return AutoLimit(
            SAFE_LIMIT,
            f"no plan for {running.model} in {history}: starting with {SAFE_LIMIT} connections a GPU and a lag guard; "
            "run `whisper-ops sweep` and `whisper-ops plan` for a measured limit",
        )
    when = datetime.fromtimestamp(plan.created_at, UTC)
    marks = " (provisional)" if plan.provisional else ""
    origin = f"the plan of {when:%Y-%m-%d %H:%M} UTC for {plan.server} on {plan.gpu_name or 'its device'}{marks}"
    if plan.max_connections_per_gpu is None:
        raise UserError(f"{origin} says that not one connection meets the objective; give a number to serve anyway")
    return AutoLimit(
        plan.max_connections_per_gpu,
        f"{counted(plan.max_connections_per_gpu, 'connection')} a GPU, as {origin} says: {plan.reason}",
    )


def _newest(history: Path, running: Identity) -> PlanRecord | None:
    not_yet = [name for name in IDENTITY_FIELDS if getattr(running, name) is None]
    gpus = [] if running.simulated else gpu_names()
    with History.reading(history) as opened:
        here = [plan for plan in opened.plans.every() if _on_one_of(plan, gpus)]
    return plan_for(here, running, not_yet=not_yet)


def _on_one_of(plan: PlanRecord, gpus: list[str]) -> bool:
    """Whether a plan was made on a GPU that is here; where no driver tells, nothing speaks against it."""
    return not gpus or plan.gpu_name is None or any(name in plan.gpu_name for name in gpus)
