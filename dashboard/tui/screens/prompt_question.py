"""What the prompt asks for. Imports no textual, so that commands can ask."""

from collections.abc import Callable
from typing import NamedTuple


class PromptQuestion(NamedTuple):
    """A line of text to ask for."""

    sign: str
    """What stands before the line."""
    then: Callable[[str], object]
    """Gets the answer."""
    check: Callable[[str], object] = str
    """Raises UserError for an answer that cannot be understood: the prompt says why, and stays open."""
    hint: str = ""
    """An example, shown while the line is empty."""
    text: str = ""
    """What the line begins with."""
    words: tuple[str, ...] = ()
    """What is offered to complete it."""
