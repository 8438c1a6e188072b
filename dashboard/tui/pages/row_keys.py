"""The keys of rows: what a row is about, as text that stays the same from one picture to the next."""

from typing import NamedTuple

from dashboard.world import AlertView


class RowTarget(NamedTuple):
    """What a row is about: a server, one GPU of it (`gpu_id`), or of a broker a server behind it (`member`)."""

    server: str
    gpu_id: int | None = None
    member: str | None = None


def server_key(server: str) -> str:
    """The key of a server's row."""
    return f"server {server}"


def gpu_key(server: str, gpu_id: int) -> str:
    """The key of the row of one GPU of a server."""
    return f"gpu {gpu_id} {server}"


def member_key(broker: str, member: str) -> str:
    """The key of a server behind a broker: the broker that reads it, and its name there."""
    return f"member {broker}\t{member}"


def alert_key(alert: AlertView) -> str:
    """The key of an alert's row; names of servers have no spaces."""
    return f"alert {alert.since!r} {alert.rule} {alert.server}"


def row_target(key: str | None) -> RowTarget | None:
    """What a key names; None for no key, and for rows that are about no server, such as events."""
    kind, _, rest = (key or "").partition(" ")
    match kind:
        case "server":
            return RowTarget(rest)
        case "gpu":
            number, _, server = rest.partition(" ")
            return RowTarget(server, gpu_id=int(number))
        case "member":
            broker, _, member = rest.partition("\t")
            return RowTarget(broker, member=member)
        case "alert":
            return RowTarget(rest.rsplit(" ", 1)[1])
    return None
