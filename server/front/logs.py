"""Logging on stderr: lines an operator greps, or JSON by flag. Query strings, tokens and speech never appear."""

import json
import logging
import sys
import time


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = {"time": record.created, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class WithoutQuery(logging.Filter):
    """Drops the query string from uvicorn's access lines: tokens and tickets travel there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if isinstance(record.args, tuple):
            record.args = tuple(a.partition("?")[0] if isinstance(a, str) else a for a in record.args)
        return True


def set_up(*, as_json: bool) -> None:
    """Send whisper-ops' and uvicorn's logs to stderr."""
    plain = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    plain.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else plain)
    handler.addFilter(WithoutQuery())
    for name, level in (
        ("whisper_ops", logging.INFO),
        ("uvicorn.error", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
