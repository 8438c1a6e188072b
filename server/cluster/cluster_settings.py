"""What `serve --cluster` was asked for: one frozen value, made by the command line."""

from dataclasses import dataclass

from server.broker.broker_settings import BrokerSettings


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """What `serve --cluster` was told, checked."""

    address: str
    """`local`, or that of Ray's head."""
    workers: int | None
    """None: one for each GPU there is, else one."""
    least: int | None
    most: int | None
    headroom: float
    hold_seconds: float
    arguments: tuple[str, ...]
    """For the workers' `serve`, without their device."""
    device: str
    """`auto`: a GPU where the cluster has any, else the processor."""
    slots: int
    """Of a worker."""
    first_port: int
    drain_seconds: float
    insecure: bool
    broker: BrokerSettings

    @property
    def is_local(self) -> bool:
        """Whether the cluster is of this machine alone and ends with us."""
        return self.address == "local"
