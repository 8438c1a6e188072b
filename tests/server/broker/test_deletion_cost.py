"""Which pod Kubernetes deletes first."""

import asyncio
import logging
from pathlib import Path
from typing import cast

import pytest

from server.broker.deletion_cost import ANNOTATION, DeletionCost, next_to_delete
from server.broker.fleet import Fleet, _rank
from server.broker.kubernetes_api import KubernetesApi, KubernetesError
from server.broker.member import FleetMember
from tests.server.broker_kubernetes import until
from tests.support.api_server import ApiServer, status


class MemberDouble:
    """A member as the choice sees it."""

    def __init__(self, name: str, used: int, slots: int = 10, state: str = "live") -> None:
        self.name, self.state, self.is_next_to_delete = name, state, False
        self.backs_off, self.load, self.free = False, used / slots, slots - used
        self.snapshot = self.health = self.capacity = self
        self.used_slots, self.total_slots = used, slots


def as_members(*members: MemberDouble) -> list[FleetMember]:
    return cast("list[FleetMember]", list(members))


def chosen(*members: MemberDouble, before: MemberDouble | None = None) -> str | None:
    found = next_to_delete(as_members(*members), cast("FleetMember | None", before))
    return None if found is None else found.name


def test_the_emptiest_goes_when_the_others_have_room_for_all_and_the_headroom() -> None:
    assert chosen(MemberDouble("a", 3), MemberDouble("b", 1), MemberDouble("c", 4)) == "b"
    assert chosen(MemberDouble("a", 10), MemberDouble("b", 6), MemberDouble("c", 6)) is None, (
        "22 and a fifth more are over 20"
    )
    assert chosen(MemberDouble("a", 0)) is None, "never the last one"
    assert chosen(MemberDouble("a", 0), MemberDouble("b", 0, state="silent"), MemberDouble("c", 0)) is None, (
        "b may carry anything"
    )
    assert chosen(MemberDouble("a", 0, state="draining"), MemberDouble("b", 2), MemberDouble("c", 1)) == "c"


def test_a_choice_stays_until_it_is_clearly_wrong() -> None:
    a, b, c = MemberDouble("a", 3), MemberDouble("b", 2), MemberDouble("c", 4)
    assert chosen(a, b, c, before=a) == "a", "one stream more is no reason to write again"
    fuller = MemberDouble("a", 4)
    assert chosen(fuller, b, c, before=fuller) == "b"
    gone = MemberDouble("x", 0)
    assert chosen(a, b, c, before=gone) == "b"


async def test_the_cost_is_written_once_and_lower_each_time(api: ApiServer, account: Path) -> None:
    client = KubernetesApi(api.url, account)
    cost = DeletionCost(client, "voice")
    a, b, c = MemberDouble("a", 3), MemberDouble("b", 1), MemberDouble("c", 4)
    for _ in range(5):
        await cost.update(as_members(a, b, c))
    assert [name for name, _ in api.patches] == ["b"]
    assert [b.is_next_to_delete, a.is_next_to_delete, c.is_next_to_delete] == [True, False, False]
    await cost.update(as_members(a, c))  # b is gone
    (_, first), (name, second) = api.patches
    assert name == "a"
    assert set(second) == {"metadata"}
    assert set(second["metadata"]["annotations"]) == {ANNOTATION}
    costs = [int(change["metadata"]["annotations"][ANNOTATION]) for change in (first, second)]
    assert costs[1] <= costs[0] < 0
    assert costs[1] > -(2**31)
    await client.close()


async def test_a_cost_that_could_not_be_written_is_written_at_the_next_look(api: ApiServer, account: Path) -> None:
    client = KubernetesApi(api.url, account)
    cost = DeletionCost(client, "voice")
    members = as_members(MemberDouble("a", 1), MemberDouble("b", 0))
    api.broken = status(403, "Forbidden", "pods is forbidden")
    with pytest.raises(KubernetesError, match="403: pods is forbidden"):
        await cost.update(members)
    api.broken = None
    await cost.update(members)
    assert [name for name, _ in api.patches] == ["b"]
    await client.close()


def test_the_one_that_goes_gets_a_stream_only_when_no_other_has_room() -> None:
    going, other = MemberDouble("a", 0), MemberDouble("b", 9)
    going.is_next_to_delete = True
    assert min(as_members(going, other), key=_rank).name == "b"


async def test_a_refusal_is_logged_and_the_loop_goes_on(
    api: ApiServer, account: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.broker.deletion_cost.EVERY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING, "whisper_ops.broker")
    api.broken = status(403, "Forbidden", "pods is forbidden")

    class Counted:
        def distinct_members(self) -> list[FleetMember]:
            return as_members(MemberDouble("a", 1), MemberDouble("b", 0))

    client = KubernetesApi(api.url, account)
    running = asyncio.create_task(DeletionCost(client, "voice").run(cast("Fleet", Counted())))
    await until(lambda: "pods is forbidden" in caplog.text, running)
    api.broken = None
    await until(lambda: api.patches, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await client.close()
