"""Logging on stderr: lines an operator greps, or JSON by flag. Query strings, tokens and speech never appear.

Lines are written by a thread: a pipe that nobody reads must not hold up the streams. Text of a client never begins a
line of its own.
"""

import json
import logging
import sys
import time
from typing import Any

from whisper_ops.formatting import counted
from whisper_ops.line_writer import LineWriter
from whisper_ops.untrusted_text import one_line

LOGGERS = {"whisper_ops": logging.INFO, "uvicorn.error": logging.WARNING, "": logging.WARNING}
"""Ours, and whoever else has something to say; the last is the root."""


MESSAGE_LIMIT = 2000
"""Characters of a message; a client may send a kilobyte of path."""


class _Printable(logging.Formatter):
    """Neither a message nor a traceback holds what a terminal would obey."""

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802  # logging's signature
        return "\n".join(one_line(line) for line in super().formatException(ei).splitlines())


class PlainLines(_Printable):
    """`TIME LEVEL MESSAGE`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = one_line(record.message, MESSAGE_LIMIT)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802  # logging's signature
        """See `logging.Formatter`; indented, as the words of an error may look like a line of the log."""
        return "\n".join(f"  {line}" for line in super().formatException(ei).splitlines())


class JsonLines(_Printable):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = one_line(record.getMessage(), MESSAGE_LIMIT)
        line = {"time": record.created, "level": record.levelname.lower(), "message": message}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class WithoutQuery(logging.Filter):
    """Drops the query string from uvicorn's access lines: tokens and tickets travel there."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(a.partition("?")[0] if isinstance(a, str) else a for a in record.args)
        return True


class Background(logging.Handler):
    """Hands lines to a thread that writes them."""

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = LineWriter(descriptor, self._lost)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001  # as in every handler of logging: a line that cannot be written stops nothing
            self.handleError(record)

    def close(self) -> None:
        """See `logging.Handler`; `logging.shutdown` calls it at the end."""
        self._writer.close()
        super().close()

    def _lost(self, count: int) -> str:
        message = f"{counted(count, 'line')} of this log dropped: its reader was too slow"
        return self.format(logging.LogRecord("whisper_ops", logging.WARNING, "", 0, message, None, None))


def set_up(*, as_json: bool) -> None:
    """Send all logs of this process to stderr."""
    handler = Background(sys.stderr.fileno(), JsonLines() if as_json else PlainLines())
    handler.addFilter(WithoutQuery())
    for name, level in LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
