"""What Ray runs for each worker: a supervisor, whose state can be rebuilt."""

import threading

from server.cluster.server_supervisor import Supervisor
from server.cluster.worker_spec import WorkerReport, WorkerSpec


class WorkerActor:
    """A detached, named actor. Where Ray restarts it, it takes over the server of its machine or starts one."""

    def __init__(self, name: str, spec: WorkerSpec) -> None:
        import ray  # noqa: PLC0415  # installed where actors run

        host = spec.host or ray.util.get_node_ip_address()
        self._supervisor = Supervisor(name, spec, host)
        self._spec = spec
        threading.Thread(target=self._supervisor.run, name="supervisor", daemon=True).start()

    def report(self) -> WorkerReport:
        return self._supervisor.report()

    def spec(self) -> WorkerSpec:
        return self._spec

    def drain(self, deadline_seconds: float) -> None:
        self._supervisor.drain(deadline_seconds)

    def recall(self) -> None:
        self._supervisor.recall()

    def stop(self, drain_seconds: float) -> None:
        self._supervisor.stop(drain_seconds)
