"""When a batch's words are spoken: CTranslate2's alignment of texts with their sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from server.engines import mel
from server.engines.engine import EngineRow

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
        rows: Sequence[EngineRow],
    ) -> None:
        self._model, self._encoded, self._prompt, self._rows = model, encoded, prompt, rows
        self._known: dict[int, tuple[list[int], Times]] = {}

    def of(self, texts: Sequence[Text], rows: Sequence[int]) -> dict[int, Times]:
        """The times of some rows' texts; computed once for the same text."""
        new = [i for i in rows if i not in self._known or self._known[i][0] != texts[i].ids]
        if new:
            # What lies in a GPU's memory cannot be taken apart from here.
            new = new if self._encoded.device == "cpu" else list(range(len(texts)))
            tokens = [list(texts[i].ids) for i in new]
            audio = [(self._rows[i].audio, self._rows[i].context_s) for i in new]
            frames = [min(len(sound) // mel.HOP, round(c * mel.FRAMES_PER_SECOND)) for sound, c in audio]
            found = self._model.align(self._of(new), self._prompt[:-1], tokens, frames)
            for i, ids, each, count in zip(new, tokens, found, frames, strict=True):
                self._known[i] = ids, times(ids, each.alignments, each.text_token_probs, count)
        return {i: self._known[i][1] for i in rows}

    def _of(self, rows: Sequence[int]) -> Any:  # noqa: ANN401  # CTranslate2 ships no annotations
        """The sound of some rows."""
        if len(rows) == len(self._rows):
            return self._encoded
        import ctranslate2  # noqa: PLC0415  # the torch engine shares this module, and has no use for it

        return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.asarray(self._encoded)[list(rows)]))


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
