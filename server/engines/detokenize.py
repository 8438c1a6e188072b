"""Tokens to text and timed words, for every Whisper engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from server.engines.engine import TimedWord
from server.engines.repetition import plain
from server.languages import NAMES


class Texts:
    """The tokenizer of a model's folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.eot = self.id("<|endoftext|>")

    def id(self, token: str) -> int:
        """The id of a token by its text.

        Raises:
            KeyError: the tokenizer has no such token.
        """
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise KeyError(token)
        return int(found)

    def has(self, token: str) -> bool:
        return self._tokenizer.token_to_id(token) is not None

    def languages(self, *, multilingual: bool) -> tuple[str, ...]:
        """The codes of the languages that the model knows."""
        return tuple(code for code in NAMES if self.has(f"<|{code}|>")) if multilingual else ("en",)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))

    def prompt(self, language: str, *, multilingual: bool) -> list[int]:
        start = [self.id("<|startoftranscript|>")]
        if multilingual:
            start += [self.id(f"<|{language}|>"), self.id("<|transcribe|>")]
        return [*start, self.id("<|notimestamps|>")]

    def text_tokens(self, sequence: Sequence[int]) -> list[int]:
        """The tokens of a result without special ones."""
        return [i for i in sequence if i < self.eot]

    def parts(self, ids: Sequence[int]) -> list[str]:
        """Each token's text in plain form; empty for punctuation."""
        return [plain(self.decode([i])) for i in ids]

    def heads(self, ids: Sequence[int]) -> list[int]:
        """The places of the tokens that begin a word: those that begin with a space, and the first."""
        return [i for i, token in enumerate(ids) if not i or self.decode([token]).startswith(" ")]

    def timed(
        self, ids: Sequence[int], first_frame: dict[int, int], chances: Sequence[float], length_s: float
    ) -> tuple[TimedWord, ...]:
        """Words made of tokens.

        Args:
            ids: the text's tokens.
            first_frame: for a token's place, the encoder frame (20 ms) where it begins.
            chances: the probability of each token.
            length_s: seconds of the window.
        """
        if not ids:
            return ()
        starts = [first_frame.get(i, 0) * 0.02 for i in range(len(ids))] + [length_s]
        heads = self.heads(ids)
        words: list[TimedWord] = []
        for head, after in zip(heads, [*heads[1:], len(ids)], strict=True):
            text = self.decode(ids[head:after]).strip()
            if text:
                chance = float(np.mean(list(chances[head:after]) or [0.0]))
                words.append(TimedWord(text, starts[head], starts[after], chance))
        return tuple(words)
