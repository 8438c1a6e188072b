"""A broker's members from Kubernetes, over real HTTP: listed, watched, and listed again."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.broker.broker_settings import BrokerSettings
from server.broker.fleet import Fleet
from server.broker.kubernetes_api import KubernetesError
from server.broker.membership import MemberAddress
from tests.server.broker_kubernetes import FollowedMembers, source, until
from tests.support.api_server import ApiServer, endpoint_slice, status
from tests.support.kubernetes import check
from tests.support.servers import running_server

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "8")


WHOLE = Path(__file__).parents[2] / "data/kubernetes/endpointslices.json"


async def test_pods_are_members_by_name_and_address_each_once(api: ApiServer, account: Path) -> None:
    # The slices of one service: two families, one pod that moves from slice to slice, one that still starts.
    api.put("asr-b", ["asr-2=10.0.0.2", "asr-1=10.0.0.1"])
    api.put("asr-a", ["asr-1=10.0.0.1", "!asr-3=10.0.0.3"])
    api.put("asr-6", ["asr-1=fd00::1", "asr-4=fd00::4"], family="IPv6")
    api.put("asr-empty", [])
    members = source(api, account)
    assert await members.find() == [
        MemberAddress("asr-1", "http://10.0.0.1:8000"),
        MemberAddress("asr-2", "http://10.0.0.2:8000"),
        MemberAddress("asr-4", "http://[fd00::4]:8000"),
    ]
    await members.close()
    secure = source(api, account, scheme="https")
    assert (await secure.find())[0] == MemberAddress("asr-1", "https://10.0.0.1:8000", "asr.voice.svc")
    await secure.close()


async def test_a_pod_that_comes_or_goes_is_known_at_once(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: fleet.names == ["asr-1"] and len(api.watches) == 1)
        api.put("asr-a", ["asr-1=10.0.0.1", "asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-1", "asr-2"])
        api.put("asr-b", ["asr-3=10.0.0.3"])
        await fleet.until(lambda: "asr-3" in fleet.names)
        api.delete("asr-a")
        await fleet.until(lambda: fleet.names == ["asr-3"])
        assert len(api.lists) == 1, "all of it came through the watch"


async def test_a_pod_is_a_member_from_when_it_is_ready_until_it_is_gone(api: ApiServer, account: Path) -> None:
    """Not before: it has an address while its image is fetched. And still while it drains, when it is not ready."""
    api.put("asr-a", ["!asr-1=10.0.0.1", "asr-2=10.0.0.2"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: fleet.names == ["asr-2"] and len(api.watches) == 1)
        api.put("asr-a", ["asr-1=10.0.0.1", "asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-1", "asr-2"])
        api.put("asr-a", ["!asr-1=10.0.0.1", "-asr-2=10.0.0.2", "!asr-3=10.0.0.3"])
        await fleet.until(lambda: [place.is_leaving for place in fleet.found] == [False, True])
        assert fleet.names == ["asr-1", "asr-2"]
        # It is gone, and another one has its address.
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])
        api.put("asr-a", ["asr-2=10.0.0.2", "!asr-4=10.0.0.1"])
        api.put("asr-b", ["asr-5=10.0.0.5"])
        await fleet.until(lambda: "asr-5" in fleet.names)
        assert fleet.names == ["asr-2", "asr-5"]


async def test_a_watch_that_ends_goes_on_where_it_was(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        api.bookmark()
        newest = str(api.version)
        await asyncio.sleep(0.1)
        api.end_watches()
        await fleet.until(lambda: len(api.watches) == 2)
        assert api.watches[-1] == newest, "a bookmark moves the version on"
        api.end_watches()
        api.put("asr-a", ["asr-9=10.0.0.9"])  # between two watches
        await fleet.until(lambda: fleet.names == ["asr-9"])
        assert len(api.lists) == 1


async def test_what_the_api_server_has_forgotten_is_listed_again(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        # Nothing of this is told: the connection was away, and the events have been compacted since.
        api.end_watches()
        api.slices.clear()
        api.version += 50
        api.put("asr-b", ["asr-2=10.0.0.2"])
        api.forget()
        await fleet.until(lambda: fleet.names == ["asr-2"])
        assert len(api.lists) == 2
        # And the same in the middle of a watch.
        await fleet.until(lambda: api.watches[-1] == str(api.version))
        api.send({"type": "ERROR", "object": status(410, "Expired", "The resourceVersion for the watch is too old.")})
        await fleet.until(lambda: len(api.lists) == 3)
        assert not fleet.errors


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (
            status(403, "Forbidden", 'endpointslices is forbidden: User "x" cannot list'),
            "answered 403: endpointslices is",
        ),
        (status(500, "InternalError", "etcdserver: leader changed"), "answered 500: etcdserver: leader changed"),
        (status(429, "TooManyRequests", "too many requests"), "answered 429"),
    ],
)
async def test_an_api_server_that_refuses_leaves_the_members_as_they_were(
    api: ApiServer, account: Path, broken: dict[str, Any], sentence: str
) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        api.broken = broken
        api.end_watches()
        await fleet.until(lambda: bool(fleet.errors))
        assert sentence in fleet.errors[0]
        assert fleet.names == ["asr-1"]
        api.broken = None
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])


async def test_a_fleet_keeps_its_members_while_the_api_server_is_away(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=127.0.0.1"])
    fleet = Fleet(BrokerSettings(), source(api, account, port=8000))
    running = asyncio.create_task(fleet.run())
    await until(lambda: fleet.members and api.watches, running)
    api.broken = status(503, "ServiceUnavailable", "apiserver is shutting down")
    api.end_watches()
    await until(lambda: fleet.membership_error is not None, running)
    assert [member.name for member in fleet.members.values()] == ["asr-1"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "nonsense", [b"<html>", b"{", b'{"type": "ADDED", "object": []}', b'{"type": 7}', b"[" * 100_000]
)
async def test_nonsense_in_a_watch_is_listed_anew(api: ApiServer, account: Path, nonsense: bytes) -> None:
    members = source(api, account)
    api.put("asr-a", ["asr-1=10.0.0.1"])
    await members.find()
    with pytest.raises(KubernetesError, match="unreadable answer"):
        members._apply(nonsense)
    await members.close()


async def test_a_long_list_comes_in_pages_and_has_an_end(api: ApiServer, account: Path) -> None:
    for number in range(7):
        api.put(f"asr-{number}", [f"pod-{number}=10.0.0.{number}"])
    api.page = 3
    members = source(api, account)
    assert len(await members.find()) == 7
    assert api.lists == ["", "3", "6"]
    await members.close()
    api.put("asr-many", [f"pod-{number}=10.1.{number // 250}.{number % 250}" for number in range(1001)])
    many = source(api, account)
    with pytest.raises(OSError, match="at most 1,000"):
        await many.find()
    await many.close()


async def test_the_port_is_that_of_the_pods(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"], port=9000)
    only = source(api, account, port=None)
    assert (await only.find())[0].url == "http://10.0.0.1:9000"
    other = source(api, account, port=80)
    with pytest.raises(OSError, match="listen on 9000: name the port"):
        await other.find()
    for members in (only, other):
        await members.close()


async def test_an_answer_with_everything_in_it_is_read(api: ApiServer, account: Path) -> None:
    whole = json.loads(WHOLE.read_text("utf-8"))
    api.slices = {one["metadata"]["name"]: one for one in whole["items"]}
    members = source(api, account)
    assert await members.find() == [
        MemberAddress("whisper-ops-server-6d5f8c7b9-4xk2p", "http://10.244.1.17:8000"),
        MemberAddress("whisper-ops-server-6d5f8c7b9-tz8qd", "http://10.244.2.9:8000", is_leaving=True),
    ]
    await members.close()


def test_what_the_double_says_is_what_the_api_knows() -> None:
    """No cluster is at hand to record: the double's objects are held against the API's own schema instead."""
    whole = json.loads(WHOLE.read_text("utf-8"))["items"]
    for one in (
        *whole,
        endpoint_slice("a", ["x=10.0.0.1", "!y=10.0.0.2"], 7),
        endpoint_slice("b", [], 8, family="IPv6"),
    ):
        check(
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **one, "endpoints": one["endpoints"] or []}
        )


@pytest.mark.timeout(90)
async def test_clients_are_sent_to_pods_and_no_more_to_one_that_goes(
    api: ApiServer, account: Path, tmp_path: Path
) -> None:
    """A fleet over two real servers, as pods of one service whose slices name their ports."""
    with running_server(tmp_path, *SIMULATED) as one, running_server(tmp_path, *SIMULATED) as two:
        api.put("asr-a", ["asr-1=127.0.0.1"], port=one.port)
        fleet = Fleet(BrokerSettings(), source(api, account, port=None))
        running = asyncio.create_task(fleet.run())
        await until(lambda: fleet.is_ready and api.watches, running)
        assert (await fleet.connect("10.0.0.1")).port == one.port
        api.put("asr-b", ["asr-2=127.0.0.1"], port=two.port)
        await until(lambda: [one.state for one in fleet.members.values()] == ["live", "live"], running)
        assert (await fleet.connect("10.0.0.1")).port == two.port, "the emptier one"
        # Told to end: for a while it still takes streams, and none is sent there.
        api.put("asr-b", ["-asr-2=127.0.0.1"], port=two.port)
        await until(lambda: [one.state for one in fleet.members.values()] == ["live", "draining"], running)
        assert two.get("/health")["status"] == "healthy"
        assert {(await fleet.connect("10.0.0.1")).port for _ in range(4)} == {one.port}
        api.delete("asr-b")
        await until(lambda: len(fleet.members) == 1, running)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
