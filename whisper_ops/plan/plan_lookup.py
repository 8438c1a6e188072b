"""Which stored plan is a server's: the newest for exactly what it runs, its own before another's of the same kind.

The dashboard's gauge and alerts, and the limit that a server told `auto` starts with, all ask here.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS, Identity, differing
from whisper_ops.server_names import beside, plain
from whisper_ops.telemetry.nvml import gpu_names

SAFE_LIMIT = 2
"""Without a plan: what the slowest device that is of any use carries; the lag guard watches the rest."""
LAG_GUARD_SECONDS = 2.0
"""The objective of a plan: new streams are refused while p95 lag is above it."""


class Planned(msgspec.Struct, frozen=True):
    """A limit, and the sentence that says where it comes from."""

    max_connections_per_gpu: int
    said: str


class StoredPlan(Protocol):
    """A plan, as a row of the history or read from it."""

    @property
    def identity(self) -> Identity: ...
    @property
    def server(self) -> str | None: ...
    @property
    def created_at(self) -> float: ...


M = TypeVar("M", bound=StoredPlan)


def plan_for(
    plans: Sequence[M], identity: Identity, server: str | None = None, not_yet: Collection[str] = ()
) -> M | None:
    """The newest plan for what a server runs, its own first; None where nothing was planned for exactly that.

    Args:
        plans: stored plans, in any order.
        identity: what the server runs.
        server: its name, with or without a scheme; its own plan goes before a newer one of another server.
        not_yet: keys that are not known yet, such as the precision before a model is loaded, and so not compared.
    """
    fitting = [plan for plan in plans if not differing(plan.identity, identity, not_yet)]
    known = [] if server is None else [(plan, plan.server or "") for plan in fitting]
    own = [plan for plan, name in known if plain(name) == plain(server or "")]
    own = own or [plan for plan, name in known if beside(name, server or "", identity.software)]
    return max(own or fitting, key=lambda plan: plan.created_at, default=None)


def planned_limit(history: Path, running: Identity) -> Planned:
    """The newest plan for what runs here, or a safe limit and the command that would make a plan.

    `running` is what a server knows about itself before its workers are up; what it does not know is not compared.

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
