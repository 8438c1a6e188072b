"""The only module that knows Ray: named, detached actors in placement groups of their own, one for each worker.

Ray Core places and restarts; what the workers are told and when is decided elsewhere. Every call here waits, and may
come from any thread.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Before Ray is imported: it would report to its makers which version runs where.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.exceptions import RayError
from ray.util.placement_group import get_placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from server.cluster.ray_actor import WorkerActor
from server.cluster.worker_spec import Description, WorkerSpec
from whisper_ops.errors import Exit, UserError
from whisper_ops.telemetry.host import machine_cores

log = logging.getLogger("whisper_ops.cluster")

NAMESPACE = "whisper-ops"
_PREFIX = "worker-"
_SCALER = "scaler"
_STORE_BYTES = 80 << 20
"""Of shared memory: nothing large passes through Ray."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_ORDER_SECONDS = 20.0
_WAITS = "waits for a machine with room"
_FAILURES = (RayError, RuntimeError, ConnectionError, TimeoutError, ValueError)
"""What Ray raises when its head is gone, an actor is, or a name is unknown."""


class ClusterGoneError(OSError):
    """Ray, or the actor that was asked, does not answer."""


class _Scaler:
    """Holds the name: one program at a time says how many workers there are. It ends with that program."""

    def __init__(self, where: str) -> None:
        self._where = where

    def where(self) -> str:
        """Who it is."""
        return self._where


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        said = (str(error).strip() or type(error).__name__).splitlines()
        raise ClusterGoneError(f"{what}: {said[-1][:200]}") from error


class RayCluster:
    """See the module."""

    def __init__(self) -> None:
        self._asked: dict[str, Any] = {}
        """By worker: a question that is not answered yet. Ray keeps those for an actor that is not there now."""
        self._lock = threading.Lock()

    @classmethod
    def local(cls, workers: int, host: str | None) -> "RayCluster":
        """A cluster of this machine alone, which ends with us; `host` None: at its own address."""
        more = {} if host is None else {"_node_ip_address": host}
        cpus = max(workers, machine_cores() or 1)
        _hush()
        ray.init("local", num_cpus=cpus, object_store_memory=_STORE_BYTES, **more, **_QUIET)
        return cls()

    @classmethod
    def at(cls, address: str) -> "RayCluster":
        """The cluster whose head is at an address.

        Raises:
            UserError: nobody answers there, or Ray does not take us.
        """
        host, _, port = address.rpartition(":")
        try:
            # Ray itself would try for a quarter of an hour.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise UserError(
                f"no Ray head answers at {address} ({error.strerror or error}); start one with `ray start --head` "
                "and give its address",
                Exit.UNREACHABLE,
            ) from error
        _hush()
        try:
            ray.init(address, **_QUIET)
        except (RuntimeError, ConnectionError, ValueError) as error:
            said = str(error).strip().splitlines()[0][:300]
            raise UserError(
                f"cannot join the Ray cluster at {address}: {said}; this command runs on one of its machines, which "
                "joined with `ray start`, with the same versions of Python and Ray",
                Exit.UNREACHABLE,
            ) from error
        return cls()

    def claim(self) -> None:
        """Be the one that says how many workers there are, until we end.

        Raises:
            UserError: another program is.
        """
        try:
            actor = ray.remote(_Scaler).options(name=_SCALER, num_cpus=0).remote(socket.gethostname())
            ray.get(actor.where.remote(), timeout=_ORDER_SECONDS)
        except ValueError as error:
            raise UserError(
                "another `whisper-ops serve --cluster` already says how many workers this cluster has; end it first, "
                "or run another broker with `whisper-ops broker --cluster`"
            ) from error
        self._claim = actor

    def close(self) -> None:
        """Leave the cluster; one of this machine alone ends."""
        ray.shutdown()

    # --- workers ------------------------------------------------------------------------------------

    def gpus(self) -> int:
        """Of all machines together."""
        with _told("Ray does not say what machines it has"):
            return int(ray.cluster_resources().get("GPU", 0))

    def workers(self) -> dict[str, Description | None]:
        """Every worker; None: it does not answer now, as it is being started or hangs.

        Raises:
            ClusterGoneError: Ray does not answer.
        """
        with self._lock, _told("Ray does not say which workers there are"):
            names = sorted(name for name in ray.util.list_named_actors() if name.startswith(_PREFIX))
            self._asked = {name: self._asked[name] for name in names if name in self._asked}
            for name in names:
                if name not in self._asked:
                    with contextlib.suppress(ValueError):  # it went since
                        self._asked[name] = ray.get_actor(name).describe.remote()
            refs = list(self._asked.values())
            answered = set(ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_SECONDS)[0]) if refs else set()
            found = {name: self._answer(name, answered) for name in names}
            waiting = self._without_place() if None in found.values() else set()
            return {
                name: Description(name=name, error=_WAITS) if said is None and name in waiting else said
                for name, said in found.items()
            }

    @staticmethod
    def _without_place() -> set[str]:
        """Workers whose machine is not there yet, or is there no more."""
        groups = placement_group_table().values()
        return {group["name"] for group in groups if group["state"] in ("PENDING", "RESCHEDULING")}

    def _answer(self, name: str, answered: set[Any]) -> Description | None:
        if self._asked.get(name) not in answered:
            return None
        try:
            said = ray.get(self._asked.pop(name))
        except RayError:
            return None
        return said if isinstance(said, Description) else None

    def spec(self) -> WorkerSpec | None:
        """What the workers were told; None: there are none, or none of them runs."""
        for name in self.workers():
            with contextlib.suppress(*_FAILURES):
                said = ray.get(ray.get_actor(name).spec.remote(), timeout=_ANSWER_SECONDS)
                if isinstance(said, WorkerSpec):
                    return said
        return None

    def add(self, spec: WorkerSpec) -> str:
        """Ask for one more worker; its name. It comes when there is a GPU for it."""
        name = f"{_PREFIX}{secrets.token_hex(3)}"
        needs = {"GPU": spec.gpus} if spec.gpus else {"CPU": 1}
        with _told("Ray does not start a worker"):
            group = ray.util.placement_group([needs], strategy="SPREAD", name=name, lifetime="detached")
            ray.remote(WorkerActor).options(
                name=name,
                lifetime="detached",
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=8,
                num_cpus=needs.get("CPU", 0),
                num_gpus=spec.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
            ).remote(name, spec)
        return name

    def drain(self, name: str, deadline_seconds: float) -> None:
        """Have a worker take no more streams; those it has may take so long."""
        with _told(f"{name} does not drain"):
            ray.get(ray.get_actor(name).drain.remote(deadline_seconds), timeout=_ORDER_SECONDS)

    def recall(self, name: str) -> None:
        """Have it take streams again."""
        with _told(f"{name} does not come back"):
            ray.get(ray.get_actor(name).recall.remote(), timeout=_ORDER_SECONDS)

    def remove(self, name: str, drain_seconds: float = 0.0) -> None:
        """End a worker and give its GPU back; its streams may take so long to end."""
        with _told(f"{name} does not end"):
            try:
                actor = ray.get_actor(name)
            except ValueError:
                actor = None
            if actor is not None:
                with contextlib.suppress(RayError):  # it is not there: nothing to end
                    wait = drain_seconds + _ORDER_SECONDS if self._runs(actor) else 0
                    if wait:
                        ray.get(actor.stop.remote(drain_seconds), timeout=wait)
                ray.kill(actor, no_restart=True)
            self._give_back(name)

    @staticmethod
    def _runs(actor: Any) -> bool:  # noqa: ANN401  # Ray's handles have no type of their own
        """Whether an actor answers, and does not wait for a machine."""
        ref = actor.describe.remote()
        return bool(ray.wait([ref], timeout=_ANSWER_SECONDS)[0])

    @staticmethod
    def _give_back(name: str) -> None:
        with contextlib.suppress(ValueError):
            remove_placement_group(get_placement_group(name))

    def sweep_up(self) -> None:
        """Give back places that have no worker: whoever asked for them ended in between."""
        with _told("Ray does not say which places it has"):
            names = set(ray.util.list_named_actors())
            for group in placement_group_table().values():
                name = group["name"]
                if name.startswith(_PREFIX) and name not in names and group["state"] != "REMOVED":
                    self._give_back(name)


_QUIET: dict[str, Any] = {
    "namespace": NAMESPACE,
    "include_dashboard": False,
    "configure_logging": False,
    "logging_level": logging.ERROR,
    "log_to_driver": False,
}


def _hush() -> None:
    """What Ray says to programmers who use it in other ways is nothing to our users."""
    logging.getLogger("ray").setLevel(logging.ERROR)
