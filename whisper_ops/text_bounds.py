"""Bounds on texts that are read by patterns: what a person types, or a table's cell holds, is short.

A pattern that looks for its end anew at each place takes the square of a text's length, and 40 kB of blanks a minute.
"""

from whisper_ops.errors import UserError

LINE = 1_000
"""Characters of what is typed: an objective with ten conditions has 200."""


def short(text: str, what: str, limit: int = LINE) -> str:
    """The same text.

    Raises:
        UserError: it is longer than `limit` characters; `what` names it, as in "the objective".
    """
    if len(text) > limit:
        raise UserError(f"{what} has {len(text):,} characters, beginning {text[:30]!r}; at most {limit:,} are read")
    return text
