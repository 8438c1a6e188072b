"""Why an address could not be reached, in one phrase for pollers, the broker and commands alike."""

import socket
import ssl

from whisper_ops import tls_trust


def why_unreachable(error: BaseException, where: str, host: str) -> str | None:
    """What went wrong on the way to `where` (`host:port`); None where the error does not say."""
    reasons = (_reason(cause, where, host) for cause in tls_trust.causes(error))
    return next((reason for reason in reasons if reason), None)


def _reason(cause: BaseException, where: str, host: str) -> str | None:
    match cause:
        case socket.gaierror():
            return f"unknown host {host}"
        case ssl.SSLCertVerificationError():
            return tls_trust.untrusted(where, cause)
        case ssl.SSLError():
            return f"TLS with {where} failed: {cause.reason or cause}; does it speak https?"
        case ConnectionRefusedError():
            return f"connection refused by {where}"
        case OSError() if cause.strerror:
            return f"{where}: {cause.strerror.lower()}"
    return None
