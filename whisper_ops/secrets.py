"""Bearer tokens: read from a file or the environment, shown nowhere."""

import os
from pathlib import Path

from whisper_ops.errors import UserError


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
