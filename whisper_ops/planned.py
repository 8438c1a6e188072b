"""Which stored plan is a server's: the newest for exactly what it runs, its own before another's of the same kind.

The dashboard's gauge and alerts, and the limit that a server told `auto` starts with, all ask here.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.history import History, PlanRecord
from whisper_ops.names import plain
from whisper_ops.snapshot import Identity

SAFE_LIMIT = 2
"""Without a plan: what the slowest device that is of any use carries; the lag guard watches the rest."""
LAG_GUARD_SECONDS = 2.0
"""The objective of a plan: new streams are refused while p95 lag is above it."""

KEYS = ("software", "version", "engine", "model", "compute_type", "max_batch", "gpu_name", "simulated")
"""What a plan was measured on and a server must run for the plan to be its own; unknown differs from every value."""


class Planned(msgspec.Struct, frozen=True):
    """A limit, and the sentence that says where it comes from."""

    max_connections_per_gpu: int
    said: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a server knows about itself before its workers are up; None: not known yet, and so not compared."""

    software: str
    version: str
    engine: str
    model: str
    max_batch: int
    compute_type: str | None = None
    simulated: bool = False


def plan_for(
    plans: Sequence[PlanRecord], identity: Identity, server: str | None = None, not_yet: Collection[str] = ()
) -> PlanRecord | None:
    """The newest plan for what a server runs, its own first; None where nothing was planned for exactly that.

    Args:
        plans: stored plans, in any order.
        identity: what the server runs.
        server: its name, with or without a scheme; its own plan goes before a newer one of another server.
        not_yet: keys that are not known yet, such as the precision before a model is loaded, and so not compared.
    """
    keys = [key for key in KEYS if key not in not_yet]
    fitting = [plan for plan in plans if all(getattr(plan, key) == getattr(identity, key) for key in keys)]
    own = [plan for plan in fitting if server is not None and plain(plan.server or "") == plain(server)]
    return max(own or fitting, key=lambda plan: plan.created_at, default=None)


def planned_limit(history: Path, running: Running) -> Planned:
    """The newest plan for what runs here, or a safe limit and the command that would make a plan.

    Raises:
        UserError: the history is there and cannot be read.
    """
    plan = _newest(history, running) if history.exists() else None
    if plan is None:
        return Planned(
            SAFE_LIMIT,
            f"no plan for {running.model} in {history}: starting with {SAFE_LIMIT} connections a GPU and a lag guard; "
            "run `whisper-ops sweep` and `whisper-ops plan` for a measured limit",
        )
    when = datetime.fromtimestamp(plan.created_at, UTC)
    marks = " (provisional)" if plan.provisional else ""
    origin = f"the plan of {when:%Y-%m-%d %H:%M} UTC for {plan.server} on {plan.gpu_name or 'its device'}{marks}"
    if plan.max_connections_per_gpu is None:
        raise UserError(f"{origin} says that not one connection meets the objective; give a number to serve anyway")
    return Planned(
        plan.max_connections_per_gpu,
        f"{plan.max_connections_per_gpu} connections a GPU, as {origin} says: {plan.reason}",
    )


def _newest(history: Path, running: Running) -> PlanRecord | None:
    known = msgspec.structs.asdict(running)
    not_yet = [*(name for name, value in known.items() if value is None), "gpu_name"]
    gpus = [] if running.simulated else _gpu_names()
    with History.reading(history) as opened:
        here = [plan for plan in opened.plans() if _on_one_of(plan, gpus)]
    return plan_for(here, Identity(**known), not_yet=not_yet)


def _on_one_of(plan: PlanRecord, gpus: list[str]) -> bool:
    """Whether a plan was made on a GPU that is here; where no driver tells, nothing speaks against it."""
    return not gpus or plan.gpu_name is None or any(name in plan.gpu_name for name in gpus)


def _gpu_names() -> list[str]:
    import pynvml  # noqa: PLC0415  # looks for a library of the driver, which only `auto` needs

    try:
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
