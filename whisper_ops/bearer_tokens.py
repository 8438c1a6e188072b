"""Bearer tokens: read from a file or the environment, shown nowhere."""

import os
from collections.abc import Iterable
from pathlib import Path

from whisper_ops.errors import UserError
from whisper_ops.user_files import read_text

_MOST_BYTES = 2**16

_SERVICE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""With these a program may speak to the service manager in our name."""
PREFIX = "WHISPER_OPS_"
SHARED_SETTINGS = frozenset({"WHISPER_OPS_HISTORY", "WHISPER_OPS_CORPUS", "WHISPER_OPS_CA_FILE"})
"""Settings that another program may need; all others of ours may hold a secret."""


def environment_without_secrets(also: Iterable[str] = ()) -> dict[str, str]:
    """Our environment for a program that is not ours: without our tokens and addresses, and those that `also` names.

    What is not ours stays: a command that tells people of alerts has a token of its own.
    """
    hidden = {*also, *_SERVICE}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and (name in SHARED_SETTINGS or not name.startswith(PREFIX))
    }


def read_token(file: Path | None, variable: str = "WHISPER_OPS_TOKEN") -> str | None:
    """The token in `file`, else in the environment's `variable`, else None; an empty variable is none that is set.

    Raises:
        UserError: the file cannot be read, or what it or the variable holds is no token.
    """
    if file is None:
        text = os.environ.get(variable) or None
        return None if text is None else _checked(text, variable)
    text = read_text(file, "the token file ", _MOST_BYTES)
    if not text.strip():
        raise UserError(f"the token file {file} is empty; put the token on its first line")
    return _checked(text, f"the token file {file}")


def _checked(text: str, where: str) -> str:
    """A token that a header can carry; never shown, whatever is wrong with it."""
    token = text.strip()
    if not token:
        raise UserError(f"{where} is blank, and a blank token would let everybody in; put a token in it, or unset it")
    if not all("!" <= letter <= "~" for letter in token):
        raise UserError(f"{where} holds no token: one is a single word of ASCII letters, digits and signs")
    return token
