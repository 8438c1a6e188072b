"""Which stored plan is a server's: the newest for exactly what it runs, its own before another's of the same kind.

The dashboard's planned limits and the limit of a server told `auto` both ask here.
"""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from whisper_ops.identity import Identity, differing
from whisper_ops.server_names import canonical_name, same_machine


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
    own = [plan for plan, name in known if canonical_name(name) == canonical_name(server or "")]
    own = own or [plan for plan, name in known if same_machine(name, server or "", identity.software)]
    return max(own or fitting, key=lambda plan: plan.created_at, default=None)
