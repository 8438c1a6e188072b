"""Words' times of a batch, from CTranslate2's alignment of texts with audio."""

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
    """A row's text, until it is a hypothesis."""

    ids: list[int]
    cut_off: bool
    """The token limit ended it, or a loop was cut off."""
    score: float
    end_s: float | None = None
    """Where its audio ends; known after a loop of single words was cut off."""
    forced: int = 0
    """Its first tokens, which the row's prefix gave."""


@dataclass(frozen=True)
class Times:
    """Of a text's tokens, in seconds of its window. `first`: by token, its first encoder frame."""

    first: dict[int, int]
    chances: list[float]
    starts: list[float]
    end_s: float

    @property
    def score(self) -> float:
        """The mean logarithm of the tokens' probabilities."""
        return sum(log(max(p, 1e-9)) for p in self.chances) / len(self.chances) if self.chances else 0.0


class Timing:
    """Aligns a batch's texts with its audio."""

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
            # Rows of an encoding in GPU memory cannot be selected from here.
            new = new if self._encoded.device == "cpu" else list(range(len(texts)))
            tokens = [list(texts[i].ids) for i in new]
            audio = [(self._rows[i].audio, self._rows[i].context_s) for i in new]
            frames = [min(len(sound) // mel.HOP, round(c * mel.FRAMES_PER_SECOND)) for sound, c in audio]
            aligned = self._model.align(self._of(new), self._prompt[:-1], tokens, frames)
            for i, ids, each, count in zip(new, tokens, aligned, frames, strict=True):
                self._known[i] = ids, times(ids, each.alignments, each.text_token_probs, count)
        return {i: self._known[i][1] for i in rows}

    def _of(self, rows: Sequence[int]) -> Any:  # noqa: ANN401  # CTranslate2 ships no annotations
        """The encodings of some rows."""
        if len(rows) == len(self._rows):
            return self._encoded
        import ctranslate2  # noqa: PLC0415  # the torch engine uses this module without it

        return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.asarray(self._encoded)[list(rows)]))


def times(ids: Sequence[int], path: Sequence[tuple[int, int]], chances: Sequence[float], frames: int) -> Times:
    """Tokens' begins and ends, from an alignment path.

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
    # The end token follows the last word and takes the remaining audio.
    end_s = first.get(len(ids), frames / 2) * _FRAME_SECONDS
    return Times(first, [float(p) for p in chances[: len(ids)]], starts, max(last, end_s))
