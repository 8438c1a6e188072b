"""`serve --cluster`: a broker for the clients, with a controller that scales the workers."""

import dataclasses
import logging
import secrets
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType

from server.broker import broker_process
from server.broker.broker_settings import BrokerSettings
from server.cluster.cluster_settings import ClusterSettings
from server.cluster.controller import Controller
from server.cluster.ray_cluster import ClusterGoneError, RayCluster
from server.cluster.ray_membership import RayMembers
from server.cluster.scaling import ScalingBounds
from server.cluster.worker_spec import WorkerSpec
from server.settings import is_loopback
from whisper_ops import __version__
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted

log = logging.getLogger("whisper_ops.cluster")


def serve(settings: ClusterSettings, narrate: Callable[[str], None]) -> None:
    """Serve until a signal. The workers of a local cluster then end; those of another one go on.

    Raises:
        UserError: the cluster does not answer, or has workers with another specification.
    """
    cluster = _join(settings)
    try:
        _serve(settings, cluster, narrate)
    except ClusterGoneError as error:
        raise _unreachable(error) from error
    finally:
        cluster.close()


def _serve(settings: ClusterSettings, cluster: RayCluster, narrate: Callable[[str], None]) -> None:
    cluster.claim()
    cluster.remove_empty_groups()
    spec = _worker_spec(settings, cluster)
    if settings.workers == 0:
        _end_all(cluster, settings.drain_seconds, narrate)
        return
    bounds = _bounds(settings, spec, cluster)
    broker = dataclasses.replace(
        settings.broker, member_token=spec.token, member_admin_token=settings.broker.admin_token or spec.admin_token
    )
    try:
        broker_process.serve(
            broker,
            lambda url: narrate(f"clients ask {url}/connect; {_size(bounds)} on {settings.address}"),
            RayMembers(cluster),
            Controller(cluster, spec, bounds, narrate),
        )
    except KeyboardInterrupt:
        _leave(settings, cluster, 0.0, narrate)
        raise
    _leave(settings, cluster, settings.drain_seconds, narrate)


def serve_broker(settings: BrokerSettings, address: str, announce: Callable[[str], None]) -> None:
    """Run another broker for the workers of a cluster.

    Raises:
        UserError: the cluster does not answer.
    """
    cluster = RayCluster.at(address)
    try:
        spec = _running_spec(cluster)
        if spec is not None:
            settings = dataclasses.replace(
                settings,
                member_token=settings.member_token or spec.token,
                member_admin_token=settings.member_admin_token or spec.admin_token,
            )
        broker_process.serve(settings, announce, RayMembers(cluster))
    finally:
        cluster.close()


def _running_spec(cluster: RayCluster) -> WorkerSpec | None:
    try:
        return cluster.spec()
    except ClusterGoneError as error:
        raise _unreachable(error) from error


def _unreachable(error: ClusterGoneError) -> UserError:
    return UserError(f"{error}; look at `ray status`, and try again", Exit.UNREACHABLE)


def _join(settings: ClusterSettings) -> RayCluster:
    if settings.is_local:
        # Ray takes an IP address only, no name.
        host = "127.0.0.1" if is_loopback(settings.broker.host) else None
        return RayCluster.local(max(settings.workers or 1, settings.most or 1), host)
    return RayCluster.at(settings.address)


def _worker_spec(settings: ClusterSettings, cluster: RayCluster) -> WorkerSpec:
    """The specification of new workers.

    Raises:
        UserError: running workers have another one.
    """
    running = cluster.spec()
    device, gpus = settings.device, 0
    if device == "auto":
        gpus = 1 if cluster.gpus() else 0
        device = "auto" if gpus else "cpu"
    spec = WorkerSpec(
        arguments=(*settings.arguments, "--devices", device, *(["--insecure"] if settings.insecure else [])),
        gpus=gpus,
        host=settings.broker.host if settings.is_local and is_loopback(settings.broker.host) else None,
        first_port=settings.first_port,
        token=settings.broker.token,
        admin_token=settings.broker.admin_token or (running.admin_token if running else secrets.token_urlsafe(24)),
        version=__version__,
    )
    if running is not None and running != spec and settings.workers != 0:
        names = [field.name for field in dataclasses.fields(spec)]
        different = [name for name in names if getattr(running, name) != getattr(spec, name)]
        raise UserError(
            f"the workers running on {settings.address} have other settings ({', '.join(different)}); give the same, "
            "or end them first with --workers 0"
        )
    return spec


def _bounds(settings: ClusterSettings, spec: WorkerSpec, cluster: RayCluster) -> ScalingBounds:
    workers = settings.workers or (max(1, cluster.gpus()) if spec.gpus else 1)
    least = settings.least if settings.least is not None else min(workers, settings.most or workers)
    most = settings.most if settings.most is not None else max(workers, least)
    return ScalingBounds(least, most, settings.slots, settings.headroom, settings.hold_seconds)


def _size(bounds: ScalingBounds) -> str:
    if bounds.least == bounds.most:
        return counted(bounds.most, "worker")
    return f"{bounds.least} to {counted(bounds.most, 'worker')}"


def _leave(settings: ClusterSettings, cluster: RayCluster, seconds: float, narrate: Callable[[str], None]) -> None:
    if settings.is_local:
        _end_all(cluster, seconds, narrate)
        return
    narrate(
        f"the workers on {settings.address} go on; the same command takes them over, "
        f"`whisper-ops serve --cluster {settings.address} --workers 0` ends them"
    )


def _end_all(cluster: RayCluster, seconds: float, narrate: Callable[[str], None]) -> None:
    """End every worker when its streams have ended, at the latest after `seconds`; a second signal ends them now."""
    names = list(cluster.workers())
    narrate(f"ending {counted(len(names), 'worker')}" + (f"; streams have up to {seconds:.0f} s" if seconds else ""))
    handlers = {number: signal.signal(number, _on_second_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _remove_workers(cluster, names, seconds)
    except _SecondSignalError:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)
        _remove_workers(cluster, names, 0.0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _SecondSignalError(Exception):
    pass


def _on_second_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a handler
    raise _SecondSignalError


def _remove_workers(cluster: RayCluster, names: list[str], seconds: float) -> None:
    pool = ThreadPoolExecutor(max(1, len(names)))
    try:
        ends = [pool.submit(partial(cluster.remove, name, seconds)) for name in names]
        while not all(end.done() for end in ends):
            time.sleep(0.1)
        for end in ends:
            if isinstance(error := end.exception(), OSError):
                log.warning("Cluster: %s", error)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
