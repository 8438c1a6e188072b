"""How a server is called: its polls and its sweeps must meet under one name."""


def plain(server: str) -> str:
    """A server's address without scheme and trailing slash, so that its polls and its sweeps meet."""
    return server.split("://", 1)[-1].rstrip("/").lower()
