"""When a batch's words are spoken: CTranslate2's alignment of texts with their sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from server.engines import mel
from server.engines.base import Row

_FRAME_SECONDS = 0.02


@dataclass
class Text:
    """A row's text on its way."""

    ids: list[int]
    cut_off: bool
    """Its end is not what was said: the token limit ended it, or a loop was cut off."""
    score: float
    end_s: float | None = None
    """Where the sound of the text ends, where cutting off a loop of single words told it."""


@dataclass(frozen=True)
class Times:
    """Where a text's tokens begin, in seconds of its window, and where the last one ends."""

    first: dict[int, int]
    chances: list[float]
    starts: list[float]
    end_s: float

    @property
    def score(self) -> float:
        """The mean logarithm of the tokens' probabilities."""
        return sum(log(max(p, 1e-9)) for p in self.chances) / len(self.chances) if self.chances else 0.0


class Timing:
    """Aligns a batch's texts with its sound."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401  # CTranslate2 ships no annotations
        encoded: Any,  # noqa: ANN401  # CTranslate2 ships no annotations
        prompt: list[int],
        rows: Sequence[Row],
    ) -> None:
        self._model, self._encoded, self._prompt, self._rows = model, encoded, prompt, rows
        self._known: tuple[list[list[int]], list[Times]] | None = None

    def of(self, texts: Sequence[Text]) -> list[Times]:
        """The times of each row's text; computed once for the same texts."""
        tokens = [list(text.ids) for text in texts]
        if self._known is None or self._known[0] != tokens:
            frames = [min(len(r.audio) // mel.HOP, round(r.context_s * mel.FRAMES_PER_SECOND)) for r in self._rows]
            found = self._model.align(self._encoded, self._prompt[:-1], tokens, frames)
            self._known = (
                tokens,
                [times(i, a.alignments, a.text_token_probs, f) for i, a, f in zip(tokens, found, frames, strict=True)],
            )
        return self._known[1]


def times(ids: Sequence[int], path: Sequence[tuple[int, int]], chances: Sequence[float], frames: int) -> Times:
    """Where tokens begin and end, of the way through them and their sound's encoder frames.

    Args:
        ids: the text's tokens.
        path: pairs of a token's place and a frame, in order.
        chances: the probability of each token.
        frames: mel frames of sound.
    """
    first: dict[int, int] = {}
    for token, frame in path:
        first.setdefault(token, frame)
    starts, last = [], 0.0
    for i in range(len(ids)):
        last = first[i] * _FRAME_SECONDS if i in first else last
        starts.append(last)
    # After the last word comes the end of the text, which takes what sound is left.
    end_s = first.get(len(ids), frames / 2) * _FRAME_SECONDS
    return Times(first, [float(p) for p in chances[: len(ids)]], starts, max(last, end_s))
