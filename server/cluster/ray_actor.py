"""What Ray runs for each worker: a supervisor, and nothing that could not be lost."""

import threading

from server.cluster.server_supervisor import Supervisor
from server.cluster.worker_spec import Description, WorkerSpec


class WorkerActor:
    """A detached, named actor. Ray restarts it, here or on another machine; then it begins anew or takes over."""

    def __init__(self, name: str, spec: WorkerSpec) -> None:
        import ray  # noqa: PLC0415  # it is there where actors are

        host = spec.host or ray.util.get_node_ip_address()
        self._supervisor = Supervisor(name, spec, host)
        self._spec = spec
        threading.Thread(target=self._supervisor.run, name="supervisor", daemon=True).start()

    def describe(self) -> Description:
        """See `Supervisor`."""
        return self._supervisor.describe()

    def spec(self) -> WorkerSpec:
        """What it was told."""
        return self._spec

    def drain(self, deadline_seconds: float) -> None:
        """See `Supervisor`."""
        self._supervisor.drain(deadline_seconds)

    def recall(self) -> None:
        """See `Supervisor`."""
        self._supervisor.recall()

    def stop(self, drain_seconds: float) -> None:
        """See `Supervisor`."""
        self._supervisor.stop(drain_seconds)
