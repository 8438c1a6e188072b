"""Bearer tokens: read from a file or the environment, shown nowhere."""

import os
from collections.abc import Iterable
from pathlib import Path

from whisper_ops.errors import UserError

_SERVICE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""With these a program may speak to the service manager in our name."""
OURS = "WHISPER_OPS_"
TOLD = frozenset({"WHISPER_OPS_HISTORY", "WHISPER_OPS_CORPUS", "WHISPER_OPS_CA_FILE"})
"""Settings that a program beside us may need; all others of ours may hold a secret."""


def environment_for_others(also: Iterable[str] = ()) -> dict[str, str]:
    """Our environment for a program that is not ours: without our tokens and addresses, and those that `also` names.

    What is not ours stays: a command that tells people of alerts has a token of its own.
    """
    hidden = {*also, *_SERVICE}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and (name in TOLD or not name.startswith(OURS))
    }


def read_token(file: Path | None, variable: str = "WHISPER_OPS_TOKEN") -> str | None:
    """The token in `file`, else in the environment's `variable`, else None.

    Raises:
        UserError: the file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the token file {file}: {_reason(error)}") from error
    if not token:
        raise UserError(f"the token file {file} is empty; put the token on its first line")
    return token


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
