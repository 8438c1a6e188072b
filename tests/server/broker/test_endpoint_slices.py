"""A broker's members from Kubernetes, over real HTTP: listed, watched, listed again when forgotten; which pod goes."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self, cast

import pytest
import pytest_asyncio
import trustme

from server.broker.broker_settings import BrokerSettings, KubernetesService
from server.broker.deletion_cost import ANNOTATION, DeletionCost, next_to_delete
from server.broker.endpoint_slices import EndpointSlices
from server.broker.fleet import Fleet, _rank
from server.broker.kubernetes_api import KubernetesApi, KubernetesError
from server.broker.member import FleetMember
from server.broker.membership import MemberAddress
from server.commands.broker import _service
from tests.capacity.planner_cli import whisper_ops
from tests.support.api_server import ApiServer, endpoint_slice, running_api_server, status
from tests.support.kubernetes import check
from tests.support.servers import running_server

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "8")
WHOLE = Path(__file__).parents[2] / "data/kubernetes/endpointslices.json"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with running_api_server() as server:
        yield server


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    return tmp_path


def source(api: ApiServer, account: Path, port: int | None = 8000, scheme: str = "http") -> EndpointSlices:
    return EndpointSlices(KubernetesApi(api.url, account), KubernetesService("asr", None, scheme, port), "voice")


async def until(condition: Callable[[], object], task: "asyncio.Task[None]") -> None:
    """Wait for what `task` works at."""
    async with asyncio.timeout(20):
        while not condition():  # what is waited for tells nobody
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)


class Following:
    """A fleet's two calls, one after the other, as `Fleet.run` makes them."""

    def __init__(self, members: EndpointSlices) -> None:
        self.members, self.found = members, list[MemberAddress]()
        self.errors: list[str] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.members.close()

    async def _run(self) -> None:
        while True:
            try:
                self.found = await self.members.find()
            except OSError as error:
                self.errors.append(str(error))
            await self.members.wait_for_change()

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, self._task)

    @property
    def names(self) -> list[str]:
        return [place.name for place in self.found]


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
    async with Following(source(api, account)) as fleet:
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
    async with Following(source(api, account)) as fleet:
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
    async with Following(source(api, account)) as fleet:
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
    async with Following(source(api, account)) as fleet:
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


async def test_the_token_is_read_anew_since_it_rotates(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with Following(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        api.token = "second"
        (account / "token").write_text("second")
        api.end_watches()
        await fleet.until(lambda: len(api.watches) == 2)
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])
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
    async with Following(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        api.broken = broken
        api.end_watches()
        await fleet.until(lambda: bool(fleet.errors))
        assert sentence in fleet.errors[0]
        assert fleet.names == ["asr-1"]
        api.broken = None
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])


@pytest.mark.parametrize("long", [False, True])
async def test_why_a_watch_is_refused_is_logged(
    api: ApiServer, account: Path, caplog: pytest.LogCaptureFixture, *, long: bool
) -> None:
    caplog.set_level(logging.WARNING, "whisper_ops.broker")
    api.put("asr-a", ["asr-1=10.0.0.1"])
    api.no_watch = status(403, "Forbidden", "cannot watch" + "!" * 200_000 * long)
    async with Following(source(api, account)) as fleet:
        await fleet.until(lambda: "403" in caplog.text)
        said = "no reason given" if long else "cannot watch"
        assert f"Members: the API server answered 403: {said}; listing them again" in caplog.text
        api.no_watch = None
        await fleet.until(lambda: len(api.watches) > 1)
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


async def test_the_clusters_own_authority_is_believed_and_no_other(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "token").write_text("first")
    async with running_api_server(tls) as api:
        api.put("asr-a", ["asr-1=10.0.0.1"])
        authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        members = source(api, tmp_path)
        assert len(await members.find()) == 1
        await members.close()
        stranger.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        wary = source(api, tmp_path)
        with pytest.raises(KubernetesError, match="certificate"):
            await wary.find()
        await wary.close()


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


@pytest.mark.parametrize(
    ("said", "service"),
    [
        ("k8s+http://asr:8000", KubernetesService("asr", None, "http", 8000)),
        ("k8s+asr", KubernetesService("asr", None, "http", None)),
        ("k8s+https://asr.voice", KubernetesService("asr", "voice", "https", None)),
        ("k8s+http://asr.voice.svc.cluster.local:8000", KubernetesService("asr", "voice", "http", 8000)),
    ],
)
def test_a_service_is_named_as_in_the_cluster(said: str, service: KubernetesService) -> None:
    assert _service([said]) == service


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["k8s+http://asr.example.com:8000"], "names no service"),
        (["k8s+http://a_b"], "names no service"),
        (["k8s+http://asr:8000", "http://other:8000"], "is the whole fleet"),
        (["fra=k8s+http://asr:8000"], "is the whole fleet"),
        (["k8s+http://asr:8000/path"], "more than scheme, host and port"),
        (["k8s+ftp://asr"], "is no address of a server"),
        (["k8s+http://asr:8000"], "this is no pod with a service account"),
        (["http://a:1", "--deletion-cost"], "needs pods as members, k8s+http://SERVICE"),
    ],
)
def test_what_is_no_service_of_this_cluster_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = whisper_ops(capsys, "broker", *words, "--port", "0")
    assert done.code == 2
    assert sentence in done.sentence()


# --- which pod goes -------------------------------------------------------------------------------------


class Seen:
    """A member as the choice sees it."""

    def __init__(self, name: str, used: int, slots: int = 10, state: str = "live") -> None:
        self.name, self.state, self.is_next_to_delete = name, state, False
        self.backs_off, self.load, self.free = False, used / slots, slots - used
        self.snapshot = self.health = self.capacity = self
        self.used_slots, self.total_slots = used, slots


def seen(*members: Seen) -> list[FleetMember]:
    return cast("list[FleetMember]", list(members))


def chosen(*members: Seen, before: Seen | None = None) -> str | None:
    found = next_to_delete(seen(*members), cast("FleetMember | None", before))
    return None if found is None else found.name


def test_the_emptiest_goes_when_the_others_have_room_for_all_and_the_headroom() -> None:
    assert chosen(Seen("a", 3), Seen("b", 1), Seen("c", 4)) == "b"
    assert chosen(Seen("a", 10), Seen("b", 6), Seen("c", 6)) is None, "22 and a fifth more are over 20"
    assert chosen(Seen("a", 0)) is None, "never the last one"
    assert chosen(Seen("a", 0), Seen("b", 0, state="silent"), Seen("c", 0)) is None, "b may carry anything"
    assert chosen(Seen("a", 0, state="draining"), Seen("b", 2), Seen("c", 1)) == "c"


def test_a_choice_stays_until_it_is_clearly_wrong() -> None:
    a, b, c = Seen("a", 3), Seen("b", 2), Seen("c", 4)
    assert chosen(a, b, c, before=a) == "a", "one stream more is no reason to write again"
    fuller = Seen("a", 4)
    assert chosen(fuller, b, c, before=fuller) == "b"
    gone = Seen("x", 0)
    assert chosen(a, b, c, before=gone) == "b"


async def test_the_cost_is_written_once_and_lower_each_time(api: ApiServer, account: Path) -> None:
    client = KubernetesApi(api.url, account)
    cost = DeletionCost(client, "voice")
    a, b, c = Seen("a", 3), Seen("b", 1), Seen("c", 4)
    for _ in range(5):
        await cost.update(seen(a, b, c))
    assert [name for name, _ in api.patches] == ["b"]
    assert [b.is_next_to_delete, a.is_next_to_delete, c.is_next_to_delete] == [True, False, False]
    await cost.update(seen(a, c))  # b is gone
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
    members = seen(Seen("a", 1), Seen("b", 0))
    api.broken = status(403, "Forbidden", "pods is forbidden")
    with pytest.raises(KubernetesError, match="403: pods is forbidden"):
        await cost.update(members)
    api.broken = None
    await cost.update(members)
    assert [name for name, _ in api.patches] == ["b"]
    await client.close()


def test_the_one_that_goes_gets_a_stream_only_when_no_other_has_room() -> None:
    going, other = Seen("a", 0), Seen("b", 9)
    going.is_next_to_delete = True
    assert min(seen(going, other), key=_rank).name == "b"


async def test_a_refusal_is_logged_and_the_loop_goes_on(
    api: ApiServer, account: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.broker.deletion_cost.EVERY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING, "whisper_ops.broker")
    api.broken = status(403, "Forbidden", "pods is forbidden")

    class Counted:
        def distinct_members(self) -> list[FleetMember]:
            return seen(Seen("a", 1), Seen("b", 0))

    client = KubernetesApi(api.url, account)
    running = asyncio.create_task(DeletionCost(client, "voice").run(cast("Fleet", Counted())))
    await until(lambda: "pods is forbidden" in caplog.text, running)
    api.broken = None
    await until(lambda: api.patches, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await client.close()
