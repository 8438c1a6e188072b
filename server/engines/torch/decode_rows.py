"""A row in work: its prompt, what it has said so far, and when it has said enough. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from server.engines.engine import EngineRow, Hypothesis

RESTS = 3
_LOOP_PERIODS, _LOOP_TOKENS = 4, 24


class PoisonedError(RuntimeError):
    """A row whose numbers are no numbers."""


@dataclass(eq=False)
class Work:
    """A row on its way through the engine."""

    row: EngineRow
    tell: Callable[[Hypothesis | Exception], None]
    positions: int
    """Encoder positions of its window."""
    cap: int
    """Tokens that it may say."""
    prefix: list[int]
    language: str | None
    prompt: list[int] = field(default_factory=list)
    """Everything that is forced, the prefix included."""
    said: list[int] = field(default_factory=list)
    slot: int = -1
    no_speech: float = 0.0
    _chances: float = 0.0
    probable: Mapping[str, float] | None = None
    """Of each language, where the row names none."""
    rests: int = RESTS
    """How often what lies after its last word may be decoded again."""
    steps: int = 0
    """Steps that were begun since it joined."""
    over: bool = False
    unended: bool = False
    """It is over, but not because its text ended."""

    @property
    def key(self) -> tuple[int, float] | None:
        """What names the begin of its window."""
        return None if self.row.stream is None else (self.row.stream, self.row.at_s)

    @property
    def position(self) -> int:
        """Where the newest token stands, which may not have been read yet."""
        return len(self.prompt) + self.steps

    def take(self, token: int, log_probability: float, eot: int) -> None:
        """Take the next token; sets `over` with the last.

        Raises:
            PoisonedError: the model's numbers for this row are no numbers.
        """
        if math.isnan(log_probability):
            self.over = True
            raise PoisonedError("the model's output for this window is not a number")
        self._chances += log_probability
        if token == eot:
            self.over = True
            return
        self.said.append(token)
        self.unended = self.over = len(self.said) >= self.cap or loops(self.said)

    @property
    def log_probability(self) -> float:
        """Of the whole text with its end, over its tokens: as CTranslate2 counts."""
        return self._chances / max(1, len(self.said))


def loops(tokens: Sequence[int]) -> bool:
    """Whether the end repeats what stands before it, four times over and for two dozen tokens: nobody speaks so."""
    if len(tokens) < _LOOP_TOKENS + 1:
        return False
    for period in range(1, len(tokens) // (_LOOP_PERIODS + 1) + 1):
        length = max(_LOOP_PERIODS * period, _LOOP_TOKENS)
        if length + period <= len(tokens) and list(tokens[-length:]) == list(tokens[-length - period : -period]):
            return True
    return False
