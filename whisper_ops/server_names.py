"""A server's name, under which its polls, sweeps and plans meet."""

from whisper_ops.known_software import KNOWN


def canonical_name(server: str) -> str:
    """A name or address in small letters, without scheme and trailing slash: what names are compared by."""
    return server.split("://", 1)[-1].rstrip("/").lower()


def host_of(server: str) -> str:
    """The host of an address, without its port."""
    host = canonical_name(server).split("/", 1)[0]
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


def same_machine(one: str, other: str, software: str | None) -> bool:
    """Whether two addresses are on one machine, and of software whose figures are at another port than its streams."""
    known = KNOWN.get(software or "")
    return known is not None and known.figures_elsewhere and host_of(one) == host_of(other)


def default_name(url: str) -> str:
    """The name of a server without one: host, port and path, but no scheme, user, password or query."""
    rest = url.split("://", 1)[-1].split("?", 1)[0].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return (host.rsplit("@", 1)[-1] + slash + path).rstrip("/")
