"""Errors that a client is told, and the WebSocket close code of each."""

from server.request_parsing import UnreadableError

CLOSE_CODES = {
    "no_capacity": 1013,
    "draining": 1013,
    "drained": 1001,
    "lagging": 1013,
    "too_many_connections": 1013,
    "overloaded": 1013,
    "too_many_messages": 1008,
    "bad_request": 1003,
    "bad_audio": 1003,
    "bad_json": 1007,
    "idle_timeout": 1001,
    "session_timeout": 1001,
    "gpu_failed": 1011,
    "server_fault": 1011,
}


class ProtocolError(Exception):  # it becomes a message and a close code, not a traceback
    """A message or parameter of the client that cannot be served. `param`: the field, where it is one."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def protocol_error(error: UnreadableError, what: str = "") -> ProtocolError:
    message = f"{what}: {error}" if what else str(error)
    return ProtocolError("bad_json" if error.malformed else "bad_request", message, error.param)
