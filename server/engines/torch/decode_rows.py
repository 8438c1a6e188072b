"""A row that is being decoded: its prompt, its tokens so far, and when it ends. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from server.engines.engine import EngineRow, Hypothesis

RESTS = 3
_LOOP_PERIODS, _LOOP_TOKENS = 4, 24


class PoisonedError(RuntimeError):
    """A row whose logits are NaN."""


@dataclass(eq=False)
class Work:
    """A row on its way through the engine."""

    row: EngineRow
    deliver: Callable[[Hypothesis | Exception], None]
    positions: int
    """Encoder positions of its window."""
    cap: int
    """The most new tokens."""
    prefix: list[int]
    language: str | None
    prompt: list[int] = field(default_factory=list)
    """All forced tokens, with the prefix."""
    tokens: list[int] = field(default_factory=list)
    slot: int = -1
    no_speech: float = 0.0
    _log_probabilities: float = 0.0
    language_probabilities: Mapping[str, float] | None = None
    """None where the row names its language."""
    rests_left: int = RESTS
    """How often the audio after its last word may still be decoded again."""
    steps: int = 0
    """Steps since it was admitted."""
    is_over: bool = False
    is_cut_off: bool = False
    """The cap or a loop ended it, not the end token."""

    @property
    def window_key(self) -> tuple[int, float] | None:
        """Stream and begin in seconds; None: the row belongs to no stream."""
        return None if self.row.stream is None else (self.row.stream, self.row.at_s)

    @property
    def position(self) -> int:
        """Of the newest token, which the host may not have read yet."""
        return len(self.prompt) + self.steps

    def add_token(self, token: int, log_probability: float, eot: int) -> None:
        """Append a token; the last one sets `is_over`.

        Raises:
            PoisonedError: the log probability is NaN.
        """
        if math.isnan(log_probability):
            self.is_over = True
            raise PoisonedError("the model's output for this window is not a number")
        self._log_probabilities += log_probability
        if token == eot:
            self.is_over = True
            return
        self.tokens.append(token)
        self.is_cut_off = self.is_over = len(self.tokens) >= self.cap or loops(self.tokens)

    @property
    def log_probability(self) -> float:
        """The sum with the end token over the number of tokens, as CTranslate2 has it."""
        return self._log_probabilities / max(1, len(self.tokens))


def loops(tokens: Sequence[int]) -> bool:
    """Whether the last tokens are one period repeated at least four times, over at least 24 tokens."""
    if len(tokens) < _LOOP_TOKENS + 1:
        return False
    for period in range(1, len(tokens) // (_LOOP_PERIODS + 1) + 1):
        length = max(_LOOP_PERIODS * period, _LOOP_TOKENS)
        if length + period <= len(tokens) and list(tokens[-length:]) == list(tokens[-length - period : -period]):
            return True
    return False
