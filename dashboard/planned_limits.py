"""The planned limit of a server: the newest plan that was measured on what this server runs."""

from collections.abc import Sequence

import msgspec

from whisper_ops.objective import DEFAULT_LAG_SECONDS, read_stored
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_lookup import plan_for
from whisper_ops.server_names import canonical_name
from whisper_ops.snapshot import Snapshot


class PlannedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections a server may hold by its plan, and how far measurements went."""

    safe: int
    """The recommended limit over all GPUs of the server."""
    last_pass: int | None
    """The largest load over all GPUs that met the objective; None: the plan names none."""
    per_gpu: int
    """The recommended limit of each GPU."""
    objective_seconds: float
    """The p95 lag that its objective allows."""
    plan: Plan

    @property
    def provisional(self) -> bool:
        """Whether an end of its interval rests on a short level."""
        return self.plan.provisional


def planned_limit_of(snapshot: Snapshot, plans: Sequence[Plan], address: str | None = None) -> PlannedLimit | None:
    """The limit of a server by the newest plan for what it runs; None where nothing was planned for it.

    `address`: that of a server with another name, under which it may have been measured.
    """
    identity = snapshot.identity
    if identity is None:
        return None
    own = {canonical_name(name) for name in (snapshot.server, address) if name is not None}
    mine = [plan for plan in plans if canonical_name(plan.server or "") in own]
    chosen = plan_for(mine, identity) or plan_for(plans, identity, address or snapshot.server)
    if chosen is None or chosen.max_connections_per_gpu is None:
        return None
    gpus = (snapshot.figures.gpus if snapshot.figures else None) or len(snapshot.gpus) or 1
    return PlannedLimit(
        safe=chosen.max_connections_per_gpu * gpus,
        last_pass=None if chosen.capacity.last_pass is None else chosen.capacity.last_pass * gpus,
        per_gpu=chosen.max_connections_per_gpu,
        objective_seconds=objective_seconds(chosen.objective),
        plan=chosen,
    )


def objective_seconds(objective: str) -> float:
    """The p95 lag, in seconds, that a stored objective allows; that of the default objective where it bounds none."""
    most = read_stored(objective).most_lag
    return DEFAULT_LAG_SECONDS if most is None else most
