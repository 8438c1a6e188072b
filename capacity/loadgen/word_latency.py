"""When each spoken word was first shown and when it stopped changing, found after the fact from what was shown when.

A stream's updates are kept as they came; alignment happens when the stream is over, so that it never disturbs the pace.
Words are compared as Whisper's English normalisation leaves them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jiwer
import msgspec

from capacity.corpus.normalization import equal_runs, normalise
from capacity.corpus.playlist import SpokenWord

_SLACK = 4
"""How many words beyond its own length a tail is compared with: it may have lost a few that come back later."""


class TextUpdate(NamedTuple):
    """A change of what a listener sees, at a time on the monotonic clock, in seconds."""

    at: float
    committed: str
    tail: str


class WordLatency(msgspec.Struct, frozen=True):
    """One word's latencies in seconds; it was said at `due`, on the monotonic clock."""

    due: float
    first: float
    stable: float


class WordScore(msgspec.Struct, frozen=True):
    """How a stream's text compares with what was said: word counts, as jiwer counts them."""

    reference: int
    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """What WER counts."""
        return self.substitutions + self.deletions + self.insertions


def score(reference: Sequence[str], text: str) -> WordScore:
    """Compare a whole transcript with the normalised words that were said."""
    transcribed = normalise(text)
    if not reference or not transcribed:
        return WordScore(len(reference), 0, 0, len(reference), 0 if reference else len(transcribed))
    found = jiwer.process_words(" ".join(reference), " ".join(transcribed))
    return WordScore(len(reference), found.hits, found.substitutions, found.deletions, found.insertions)


class WordAlignment(NamedTuple):
    """What became of a word that was said: heard, heard otherwise or missing, and words too many before it."""

    substituted: int
    missing: int
    inserted: int

    @property
    def wrong(self) -> int:
        """What WER counts."""
        return sum(self)


def align_words(spoken: Sequence[SpokenWord], text: str) -> list[WordAlignment]:
    """What became of each spoken word, by jiwer's alignment; words too many behind the last count for the last."""
    transcribed = normalise(text)
    if not spoken or not transcribed:
        return [WordAlignment(0, 1, 0)] * len(spoken)
    counts = [[0, 0, 0] for _ in spoken]
    found = jiwer.process_words(" ".join(word.word for word in spoken), " ".join(transcribed))
    for chunk in found.alignments[0]:
        if chunk.type == "insert":
            counts[min(chunk.ref_start_idx, len(counts) - 1)][2] += chunk.hyp_end_idx - chunk.hyp_start_idx
        elif chunk.type != "equal":
            for at in range(chunk.ref_start_idx, chunk.ref_end_idx):
                counts[at][chunk.type == "delete"] += 1
    return [WordAlignment(*count) for count in counts]


def total_score(words: Sequence[WordAlignment]) -> WordScore:
    """These words counted together."""
    substituted, missing, inserted = (sum(word[k] for word in words) for k in range(3))
    return WordScore(len(words), len(words) - substituted - missing, substituted, missing, inserted)


def errors_by_clip(words: Iterable[tuple[SpokenWord, WordAlignment]]) -> dict[str, tuple[int, int]]:
    """Word errors and words of each utterance; a word too many counts where it was inserted."""
    clips: dict[str, tuple[int, int]] = {}
    for word, alignment in words:
        before = clips.get(word.clip, (0, 0))
        clips[word.clip] = (before[0] + alignment.wrong, before[1] + 1)
    return clips


def word_latencies(spoken: Sequence[SpokenWord], updates: Sequence[TextUpdate]) -> list[WordLatency]:
    """Latencies of every word that was said and appears, right, in the end.

    First shown: when the word first stood at its place. Stable: when it was shown there and never changed again.
    """
    shown = _ShownWords(updates)
    found = []
    for place, at, length in equal_runs(tuple(word.word for word in spoken), shown.words):
        for k in range(length):
            first, stable = shown.first[at + k], shown.stable[at + k]
            if first is not None and stable is not None:
                due = spoken[place + k].due
                found.append(WordLatency(due, first - due, stable - due))
    return found


class _ShownWords:
    """Replays updates against the words that stood in the end."""

    def __init__(self, updates: Sequence[TextUpdate]) -> None:
        pieces = [normalise(update.committed) for update in updates]
        words = [word for piece in pieces for word in piece]
        words += normalise(updates[-1].tail) if updates else ()
        self.words = tuple(words)
        self.first: list[float | None] = [None] * len(words)
        self.stable: list[float | None] = [None] * len(words)
        base = high = 0
        for update, piece in zip(updates, pieces, strict=True):
            standing = set(range(base, base + len(piece)))
            tail = normalise(update.tail)
            after = base + len(piece)
            window = self.words[after : after + len(tail) + _SLACK]
            for _, start, length in equal_runs(tail, window):
                standing.update(range(after + start, after + start + length))
            high = max(high, max(standing, default=0) + 1)
            self._show(update.at, range(base, min(high, len(words))), standing)
            base = after

    def _show(self, at: float, places: range, standing: set[int]) -> None:
        for k in places:
            if k not in standing:
                self.stable[k] = None
            elif self.stable[k] is None:
                self.stable[k] = at
                self.first[k] = at if self.first[k] is None else self.first[k]
