"""The only module that imports Ray: a named, detached actor in its own placement group for each worker.

Ray Core places and restarts them; `controller` decides what they do. Calls block, and may come from any thread.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Before Ray is imported: no usage statistics are sent to its makers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.exceptions import RayError
from ray.util.placement_group import get_placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from server.cluster.ray_actor import WorkerActor
from server.cluster.worker_spec import WorkerReport, WorkerSpec
from whisper_ops.errors import Exit, UserError
from whisper_ops.telemetry.host import machine_cores

log = logging.getLogger("whisper_ops.cluster")

NAMESPACE = "whisper-ops"
_PREFIX = "worker-"
_CLAIM_NAME = "scaler"
_STORE_BYTES = 80 << 20
"""Of the object store: nothing large passes through Ray."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_CALL_SECONDS = 20.0
_NO_PLACE = "waits for a machine with room"
_FAILURES = (RayError, RuntimeError, ConnectionError, TimeoutError, ValueError)
"""What Ray raises when its head or an actor is gone, or a name is unknown."""


class ClusterGoneError(OSError):
    """Ray, or an actor, does not answer."""


class _ScalerClaim:
    """Holds the name of the claim: one program at a time scales a cluster. It ends with that program."""

    def __init__(self, where: str) -> None:
        self._where = where

    def where(self) -> str:
        return self._where


@contextlib.contextmanager
def _ray_errors(what: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        said = (str(error).strip() or type(error).__name__).splitlines()
        raise ClusterGoneError(f"{what}: {said[-1][:200]}") from error


class RayCluster:
    def __init__(self) -> None:
        self._pending: dict[str, Any] = {}
        """By worker: a call that is not answered yet. Ray keeps calls for an actor that is restarting."""
        self._lock = threading.Lock()

    @classmethod
    def local(cls, workers: int, host: str | None) -> "RayCluster":
        """A cluster on this machine, which ends with this process; `host` None: at the machine's address."""
        more = {} if host is None else {"_node_ip_address": host}
        cpus = max(workers, machine_cores() or 1)
        _quiet_logging()
        ray.init("local", num_cpus=cpus, object_store_memory=_STORE_BYTES, **more, **_QUIET)
        return cls()

    @classmethod
    def at(cls, address: str) -> "RayCluster":
        """Join the cluster whose head is at HOST:PORT.

        Raises:
            UserError: no head answers there, or joining fails.
        """
        host, _, port = address.rpartition(":")
        try:
            # Ray itself would try for 15 minutes.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise UserError(
                f"no Ray head answers at {address} ({error.strerror or error}); start one with `ray start --head` "
                "and give its address",
                Exit.UNREACHABLE,
            ) from error
        _quiet_logging()
        try:
            ray.init(address, **_QUIET)
        except (RuntimeError, ConnectionError, ValueError) as error:
            said = str(error).strip().splitlines()[0][:300]
            raise UserError(
                f"cannot join the Ray cluster at {address}: {said}; run this command on a machine that joined "
                "with `ray start`, with the same versions of Python and Ray",
                Exit.UNREACHABLE,
            ) from error
        return cls()

    def claim(self) -> None:
        """Become the one program that scales this cluster, until it ends.

        Raises:
            UserError: another program is.
        """
        try:
            actor = ray.remote(_ScalerClaim).options(name=_CLAIM_NAME, num_cpus=0).remote(socket.gethostname())
            ray.get(actor.where.remote(), timeout=_CALL_SECONDS)
        except ValueError as error:
            raise UserError(
                "another `whisper-ops serve --cluster` already scales this cluster; end it first, or add a broker with "
                "`whisper-ops broker --cluster`"
            ) from error
        self._claim = actor

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        ray.shutdown()

    # --- workers ------------------------------------------------------------------------------------

    def gpus(self) -> int:
        """GPUs of all machines."""
        with _ray_errors("Ray does not list its machines"):
            return int(ray.cluster_resources().get("GPU", 0))

    def workers(self) -> dict[str, WorkerReport | None]:
        """Every worker's report; None: it is starting or hangs.

        Raises:
            ClusterGoneError: Ray does not answer.
        """
        with self._lock, _ray_errors("Ray does not list its workers"):
            names = sorted(name for name in ray.util.list_named_actors() if name.startswith(_PREFIX))
            self._pending = {name: self._pending[name] for name in names if name in self._pending}
            for name in names:
                if name not in self._pending:
                    with contextlib.suppress(ValueError):  # removed since
                        self._pending[name] = ray.get_actor(name).report.remote()
            refs = list(self._pending.values())
            answered = set(ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_SECONDS)[0]) if refs else set()
            reports = {name: self._take_answer(name, answered) for name in names}
            waiting = self._unplaced() if None in reports.values() else set()
            return {
                name: WorkerReport(name=name, error=_NO_PLACE) if said is None and name in waiting else said
                for name, said in reports.items()
            }

    @staticmethod
    def _unplaced() -> set[str]:
        """Workers whose placement group waits for a machine."""
        groups = placement_group_table().values()
        return {group["name"] for group in groups if group["state"] in ("PENDING", "RESCHEDULING")}

    def _take_answer(self, name: str, answered: set[Any]) -> WorkerReport | None:
        if self._pending.get(name) not in answered:
            return None
        try:
            said = ray.get(self._pending.pop(name))
        except RayError:
            return None
        return said if isinstance(said, WorkerReport) else None

    def spec(self) -> WorkerSpec | None:
        """The specification of the running workers; None: none of them answers."""
        for name in self.workers():
            with contextlib.suppress(*_FAILURES):
                said = ray.get(ray.get_actor(name).spec.remote(), timeout=_ANSWER_SECONDS)
                if isinstance(said, WorkerSpec):
                    return said
        return None

    def add(self, spec: WorkerSpec) -> str:
        """Add a worker, which starts when a machine has room for it; returns its name."""
        name = f"{_PREFIX}{secrets.token_hex(3)}"
        needs = {"GPU": spec.gpus} if spec.gpus else {"CPU": 1}
        with _ray_errors("Ray does not start a worker"):
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
        """Stop a worker from taking streams; its live ones end within the deadline."""
        with _ray_errors(f"{name} does not drain"):
            ray.get(ray.get_actor(name).drain.remote(deadline_seconds), timeout=_CALL_SECONDS)

    def recall(self, name: str) -> None:
        """Undo `drain`."""
        with _ray_errors(f"{name} does not come back"):
            ray.get(ray.get_actor(name).recall.remote(), timeout=_CALL_SECONDS)

    def remove(self, name: str, drain_seconds: float = 0.0) -> None:
        """End a worker and free its GPU; its streams may take `drain_seconds` to end."""
        with _ray_errors(f"{name} does not end"):
            try:
                actor = ray.get_actor(name)
            except ValueError:
                actor = None
            if actor is not None:
                with contextlib.suppress(RayError):  # it died: nothing to stop
                    wait = drain_seconds + _CALL_SECONDS if self._runs(actor) else 0
                    if wait:
                        ray.get(actor.stop.remote(drain_seconds), timeout=wait)
                ray.kill(actor, no_restart=True)
            self._remove_group(name)

    @staticmethod
    def _runs(actor: Any) -> bool:  # noqa: ANN401  # Ray's handles have no type of their own
        """Whether an actor answers."""
        ref = actor.report.remote()
        return bool(ray.wait([ref], timeout=_ANSWER_SECONDS)[0])

    @staticmethod
    def _remove_group(name: str) -> None:
        with contextlib.suppress(ValueError):
            remove_placement_group(get_placement_group(name))

    def remove_empty_groups(self) -> None:
        """Remove placement groups without an actor, left by a program that ended between the two steps of `add`."""
        with _ray_errors("Ray does not list its placement groups"):
            names = set(ray.util.list_named_actors())
            for group in placement_group_table().values():
                name = group["name"]
                if name.startswith(_PREFIX) and name not in names and group["state"] != "REMOVED":
                    self._remove_group(name)


_QUIET: dict[str, Any] = {
    "namespace": NAMESPACE,
    "include_dashboard": False,
    "configure_logging": False,
    "logging_level": logging.ERROR,
    "log_to_driver": False,
}


def _quiet_logging() -> None:
    """Ray's warnings address programmers, not our users."""
    logging.getLogger("ray").setLevel(logging.ERROR)
