"""Streams that are not admitted."""

import logging

log = logging.getLogger("whisper_ops.server")


class AdmissionRefused(Exception):  # noqa: N818  # it is an answer, not an error
    def __init__(self, code: str, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s


def no_capacity() -> AdmissionRefused:
    return AdmissionRefused("no_capacity", "No GPU resources available")


def log_refusal(client: str, refusal: AdmissionRefused) -> None:
    """Log it with the message that the client gets: people grep for that."""
    log.info("%s: refused, %s: %s", client, refusal.code, refusal.message)
