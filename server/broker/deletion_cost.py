"""Which pod goes when Kubernetes has one too many: the emptiest, by its pod-deletion-cost.

Kubernetes' autoscalers choose a number and never the pod. Its controllers delete the pod with the lowest cost first,
and ask that the cost be written rarely. So it is written once, when the fleet could do without a member, which is some
minutes before the autoscaler does; from then on that member gets no stream that another has room for.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from server.broker.fleet import Fleet
from server.broker.kubernetes_api import KubernetesApi, KubernetesError
from server.broker.member import FleetMember
from whisper_ops.scaling_rule import HEADROOM, KUBERNETES_TOLERANCE

log = logging.getLogger("whisper_ops.broker")

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
EVERY_SECONDS = 15.0
SURPLUS = (1 + HEADROOM) * (1 + KUBERNETES_TOLERANCE)
"""Times the slots in use that the others must have: what `plan --emit keda` scales by."""
_FULLER = 0.1
"""By this share of its slots one that was chosen may be fuller than the emptiest and stay chosen."""
_SINCE = 1_600_000_000


class DeletionCost:
    """See the module. Brokers beside each other choose alike; where they do not, the later choice costs less."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._chosen: FleetMember | None = None

    async def run(self, fleet: Fleet) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.look(fleet.counted())
            except KubernetesError as error:
                log.warning("Deletion cost: %s", error)

    async def look(self, members: Sequence[FleetMember]) -> None:
        """Choose, and say so when it is another one than before.

        Raises:
            KubernetesError: it could not be said.
        """
        chosen = to_go(members, self._chosen)
        for member in members:
            member.goes_next = member is chosen
        if chosen is None or chosen is self._chosen:
            return
        # Each is lower than all that were written before, also by other brokers.
        cost = {"metadata": {"annotations": {ANNOTATION: str(_SINCE - int(time.time()))}}}
        await self._api.patch(f"/api/v1/namespaces/{self._namespace}/pods/{chosen.name}", cost)
        log.info("Member %s: the next to go", chosen.name)
        self._chosen = chosen


def to_go(members: Sequence[FleetMember], before: FleetMember | None) -> FleetMember | None:
    """The member that the fleet can best do without; None: it needs all of them, or does not know what one carries."""
    live = [member for member in members if member.state == "live"]
    if len(live) < 2 or any(member.state == "silent" for member in members):
        return None
    emptiest = min(live, key=lambda member: (_used(member), member.name))
    going = before if before in live and _used(before) <= _used(emptiest) + _FULLER * _slots(before) else emptiest
    room = sum(_slots(member) for member in live) - _slots(going)
    return going if SURPLUS * sum(map(_used, live)) <= room else None


def _used(member: FleetMember) -> int:
    return member.said.health.capacity.used_slots if member.said is not None else 0


def _slots(member: FleetMember) -> int:
    return member.said.health.capacity.total_slots if member.said is not None else 0
