"""The settings of `serve --cluster`, made by the command line."""

from dataclasses import dataclass

from server.broker.broker_settings import BrokerSettings


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    address: str
    """`local`, or HOST:PORT of Ray's head."""
    workers: int | None
    """None: one for each GPU, or one without GPUs."""
    least: int | None
    most: int | None
    headroom: float
    hold_seconds: float
    arguments: tuple[str, ...]
    """For the workers' `serve`, without `--devices`."""
    device: str
    """`auto`: GPUs where the cluster has any, else CPUs."""
    slots: int
    """Per worker."""
    first_port: int
    drain_seconds: float
    insecure: bool
    broker: BrokerSettings

    @property
    def is_local(self) -> bool:
        """Whether the cluster is on this machine only and ends with this process."""
        return self.address == "local"
