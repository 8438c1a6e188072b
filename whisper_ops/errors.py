"""What can go wrong for a user, as one sentence and an exit code."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes that every command shares; they are promises to scripts."""

    GOOD = 0
    """It ran and the answer is yes."""
    NO = 1
    """It ran and the answer is no: an objective missed, a check failed."""
    USAGE = 2
    """Wrong usage, configuration or input."""
    UNREACHABLE = 3
    """A server could not be reached."""
    EVIDENCE = 4
    """There is not enough evidence to answer."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


class UserError(Exception):
    """Something a user can mend.

    The message is one sentence that holds what happened, the value it happened with, and what to do. The command line
    prints it to stderr and exits with `code`; a traceback is for our mistakes only.
    """

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code
