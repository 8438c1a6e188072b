"""The server's own certificate: read before the port is taken, so that a wrong file is one sentence."""

import os
import ssl
from pathlib import Path

from whisper_ops.errors import UserError


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """A context for a certificate with its chain and its private key, both PEM. Without `key` one file holds both.

    Raises:
        UserError: a file cannot be read, is no PEM, or the two do not belong together.
    """
    for option, path in (("--tls-cert", certificate), ("--tls-key", key or certificate)):
        _check_readable(option, path)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        raise UserError(_why(certificate, key, error)) from error
    return made


def _why(certificate: Path, key: Path | None, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"--tls-cert {certificate} and --tls-key {key} do not belong together: the key is another certificate's"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        return f"--tls-cert {certificate} holds no certificate in PEM form"
    if key is None:
        return f"--tls-cert {certificate} holds no private key beside the certificate; name its file with --tls-key"
    return f"--tls-key {key} holds no private key in PEM form"


def _check_readable(option: str, path: Path) -> None:
    # Not opened: of a pipe, as a shell's <(…) is one, what was read here would be gone.
    why = None
    if not path.exists():
        why = "there is no such file"
    elif path.is_dir():
        why = "it is a folder"
    elif not os.access(path, os.R_OK):
        why = "permission denied"
    if why is not None:
        raise UserError(f"cannot read {option} {path}: {why}")


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal, where a service has nobody.
    raise UserError(
        "the private key of --tls-key is encrypted; give one without a password, readable by the server only"
    )
