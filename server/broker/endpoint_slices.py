"""The members of a fleet in Kubernetes: the pods behind a service, as its EndpointSlices list them.

They are listed once and then watched, so a new pod is a member as soon as it is ready. A pod that is no longer ready
stays a member, since it may be draining; a terminating one gets no new streams. After a 410 (the watch's version is too
old) they are listed again; while the API server does not answer, the members known so far stay.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import TypeVar

import msgspec

from server.broker.broker_settings import KubernetesService
from server.broker.kubernetes_api import GoneError, KubernetesApi, KubernetesError, Status
from server.broker.membership import MOST_MEMBERS, MemberAddress, Membership

T = TypeVar("T")

log = logging.getLogger("whisper_ops.broker")

_PAGE = 100
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""Pauses before the next list, after a failed one."""


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(name="continue", default="")


class _Target(msgspec.Struct):
    kind: str = ""
    name: str = ""
    uid: str = ""


class _Conditions(msgspec.Struct):
    ready: bool | None = None
    terminating: bool | None = None


class _Endpoint(msgspec.Struct, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: _Conditions | None = None
    target_ref: _Target | None = None

    @property
    def is_ready(self) -> bool:
        return self.conditions is None or self.conditions.ready is not False

    @property
    def is_draining(self) -> bool:
        return self.conditions is not None and self.conditions.terminating is True


class _Port(msgspec.Struct):
    name: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, rename="camel"):
    """Its fields that are used; discovery.k8s.io/v1."""

    metadata: _Meta
    address_type: str = ""
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


class _Listed(msgspec.Struct):
    metadata: _ListMeta
    items: tuple[EndpointSlice, ...] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class EndpointSlices(Membership):
    def __init__(self, api: KubernetesApi, service: KubernetesService, namespace: str) -> None:
        self._api, self._service, self._namespace = api, service, namespace
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._selector = {"labelSelector": f"kubernetes.io/service-name={service.name}"}
        self._slices: dict[str, EndpointSlice] = {}
        self._version = ""
        """The resource version of `_slices`; empty: they must be listed."""
        self._watch: AsyncGenerator[bytes] | None = None
        self._failures = 0
        self._were_ready: set[str] = set()
        """Addresses and UIDs of pods that were ready once: a draining pod is not ready, a starting one never was."""

    async def find(self) -> list[MemberAddress]:
        if not self._version:
            await self._list()
        addresses = list(self._addresses())
        if len(addresses) > MOST_MEMBERS:
            raise OSError(f"{self._service.name} has {len(addresses):,} pods; a broker has at most {MOST_MEMBERS:,}")
        return addresses

    async def wait_for_change(self) -> None:
        """An event came, the watch ended, or all must be listed again."""
        if not self._version:
            await asyncio.sleep(_RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS)) - 1])
            return
        try:
            if self._watch is None:
                self._watch = self._api.watch(self._path, {**self._selector, "resourceVersion": self._version})
            while (event := await anext(self._watch, None)) is not None:
                if self._apply(event):
                    return
            self._watch = None
        except KubernetesError as error:
            if not isinstance(error, GoneError):
                log.warning("Members: %s; listing them again", error)
            await self._drop_watch()

    async def close(self) -> None:
        await self._drop_watch()
        await self._api.close()

    async def _drop_watch(self) -> None:
        self._version, self._failures, watch, self._watch = "", max(1, self._failures), self._watch, None
        if watch is not None:
            await watch.aclose()

    async def _list(self) -> None:
        self._failures += 1
        found: dict[str, EndpointSlice] = {}
        page = ""
        while True:
            query = {**self._selector, "limit": str(_PAGE), **({"continue": page} if page else {})}
            listed = _decoded(await self._api.get(self._path, query), _Listed)
            found |= {one.metadata.name: one for one in listed.items or ()}
            page = listed.metadata.next
            if not page:
                break
            if len(found) > MOST_MEMBERS:
                raise OSError(f"{self._service.name} has more than {MOST_MEMBERS:,} EndpointSlices")
        self._slices, self._version, self._failures = found, listed.metadata.resource_version, 0

    def _apply(self, line: bytes) -> bool:
        """Apply an event; whether it may have changed the members.

        Raises:
            KubernetesError: it is an error, or unreadable.
        """
        event = _decoded(line, _Event)
        if event.type == "ERROR":
            raise _decoded(event.object, Status).as_error()
        changed = _decoded(event.object, EndpointSlice)
        self._version = changed.metadata.resource_version or self._version
        if event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            self._slices.pop(changed.metadata.name, None)
        else:
            self._slices[changed.metadata.name] = changed
        return True

    def _addresses(self) -> Iterator[MemberAddress]:
        """Each pod once: it is in two slices while it moves between them, and always where it has IPv4 and IPv6."""
        service, seen, ready = self._service, set[str](), set[str]()
        sni = f"{service.name}.{self._namespace}.svc" if service.scheme == "https" else None
        for one in sorted(self._slices.values(), key=lambda one: (one.address_type != "IPv4", one.metadata.name)):
            if one.address_type == "FQDN" or not one.endpoints:
                continue
            port = self._port(one)
            for endpoint in one.endpoints:
                address = next(iter(endpoint.addresses), None)
                if address is None:
                    continue
                at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                pod = endpoint.target_ref or _Target()
                keys = {at, pod.uid or at}
                if not (endpoint.is_ready or endpoint.is_draining or keys & self._were_ready):
                    continue
                ready |= keys
                if not keys & seen:
                    # A server that has not seen its SIGTERM yet would still take streams.
                    yield MemberAddress(pod.name or at, f"{service.scheme}://{at}", sni, endpoint.is_draining)
                seen |= keys
        self._were_ready = ready

    def _port(self, one: EndpointSlice) -> int:
        ports = {port.name: port.port for port in one.ports or () if port.port}
        wanted = self._service.port
        if wanted is None and (len(ports) == 1 or "http" in ports):
            return ports["http"] if "http" in ports else next(iter(ports.values()))
        if wanted is not None and wanted in ports.values():
            return wanted
        known = ", ".join(str(port) for port in ports.values()) or "none"
        raise OSError(f"the pods of {self._service.name} listen on {known}: name the port, k8s+http://SERVICE:PORT")


def _decoded(text: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise KubernetesError(f"the API server sent an unreadable answer: {error}") from error
