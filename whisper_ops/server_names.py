"""How a server is called: its polls and its sweeps must meet under one name."""

from whisper_ops.known_software import KNOWN


def plain(server: str) -> str:
    """A server's address without scheme and trailing slash, so that its polls and its sweeps meet."""
    return server.split("://", 1)[-1].rstrip("/").lower()


def machine(server: str) -> str:
    """The host of an address, without its port."""
    host = plain(server).split("/", 1)[0]
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


def beside(one: str, other: str, software: str | None) -> bool:
    """Whether two addresses are on one machine, and of software whose figures are at another port than its streams."""
    known = KNOWN.get(software or "")
    return known is not None and known.figures_elsewhere and machine(one) == machine(other)


def address(url: str) -> str:
    """The name of a server without one: host, port and path, but no scheme, user, password or query."""
    rest = url.split("://", 1)[-1].split("?", 1)[0].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return (host.rsplit("@", 1)[-1] + slash + path).rstrip("/")
