"""The address that a program listens on, taken before anything else is begun."""

import errno
import socket

from whisper_ops.errors import UserError

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """Take the address now, so that a port in use is one sentence and not a traceback later.

    Raises:
        UserError: it is taken, not ours, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} on {host} is in use; stop what uses it, or choose another with --port"
            ) from error
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror or error}; choose another") from error
    return sock
