"""Tells Kubernetes which pod to delete first when it scales down: the emptiest, by its pod-deletion-cost.

Kubernetes' autoscalers choose a number and never the pod. Its controllers delete the pod with the lowest cost first,
and its documentation asks to write it rarely. So it is written once, when the fleet no longer needs a member, which is
some minutes before the autoscaler acts; from then on that member gets no stream that another has room for.
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
"""Slots that the other members must have, for each slot in use: the figure that `plan --emit keda` scales by."""
_HYSTERESIS_SHARE = 0.1
"""A chosen pod stays chosen while it is fuller than the emptiest by at most this share of its slots."""
_EPOCH = 1_600_000_000


class DeletionCost:
    """Several brokers choose alike; where they do not, the later choice has the lower cost and wins."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._chosen: FleetMember | None = None

    async def run(self, fleet: Fleet) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.update(fleet.distinct_members())
            except KubernetesError as error:
                log.warning("Deletion cost: %s", error)

    async def update(self, members: Sequence[FleetMember]) -> None:
        """Choose a pod, and write its cost where another one was chosen before.

        Raises:
            KubernetesError: the cost could not be written.
        """
        chosen = next_to_delete(members, self._chosen)
        for member in members:
            member.is_next_to_delete = member is chosen
        if chosen is None or chosen is self._chosen:
            return
        # Falls with time, so it is lower than every cost written before, also by other brokers.
        cost = {"metadata": {"annotations": {ANNOTATION: str(_EPOCH - int(time.time()))}}}
        await self._api.patch(f"/api/v1/namespaces/{self._namespace}/pods/{chosen.name}", cost)
        log.info("Member %s: next to be deleted", chosen.name)
        self._chosen = chosen


def next_to_delete(members: Sequence[FleetMember], before: FleetMember | None) -> FleetMember | None:
    """The emptiest member, if the others have room for all streams; None also while a member is silent."""
    live = [member for member in members if member.state == "live"]
    if len(live) < 2 or any(member.state == "silent" for member in members):
        return None
    emptiest = min(live, key=lambda member: (_used(member), member.name))
    stays = before in live and _used(before) <= _used(emptiest) + _HYSTERESIS_SHARE * _slots(before)
    candidate = before if before is not None and stays else emptiest
    room = sum(map(_slots, live)) - _slots(candidate)
    return candidate if SURPLUS * sum(map(_used, live)) <= room else None


def _used(member: FleetMember) -> int:
    return member.snapshot.health.capacity.used_slots if member.snapshot is not None else 0


def _slots(member: FleetMember) -> int:
    return member.snapshot.health.capacity.total_slots if member.snapshot is not None else 0
