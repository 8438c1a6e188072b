"""What one stream says: clips in an order of its own, with pauses, cut into chunks as a microphone would."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from capacity.corpus.audio_files import Samples
from capacity.corpus.clips import RATE, Clip, pause_seconds
from capacity.corpus.pauses import quiet_end

_HAIR = 1e-6
LONG_SECONDS = 25.0
"""A clip that lasts longer is a stretch of speech: of one that does not fit, a stream says as much as does."""
_CUT_SECONDS = 0.1
"""A word that ends so soon after the silence in which its clip was cut was said: offline passes round."""
_LEAST_SECONDS = 10.0
"""A shorter part of it is not worth its while."""


class SpokenWord(NamedTuple):
    """A normalised word of the reference, and when it had been said and sent, on the monotonic clock."""

    word: str
    due: float
    clip: str = ""
    """Which utterance it belongs to."""
    turn: int = 0
    """Which in the stream's order that utterance is: a long stream says one more than once."""


class PlaylistPart(msgspec.Struct, frozen=True):
    """A clip, or a silence when it is None, from a sample of the stream on."""

    start: int
    length: int
    clip: Clip | None


class Playlist(msgspec.Struct, frozen=True):
    """The parts of one stream, without gaps."""

    parts: tuple[PlaylistPart, ...]

    @property
    def samples(self) -> int:
        """The stream's length in samples."""
        return self.parts[-1].start + self.parts[-1].length if self.parts else 0

    def chunks(self, length: int) -> Iterator[Samples]:
        """The sound in pieces of `length` samples; the last may be shorter. Clips are not copied as a whole."""
        pending: list[Samples] = []
        held = 0
        for part in self.parts:
            sound = part.clip.samples[: part.length] if part.clip else np.zeros(part.length, dtype=np.int16)
            at = 0
            while at < len(sound):
                piece = sound[at : at + length - held]
                at += len(piece)
                held += len(piece)
                pending.append(piece)
                if held == length:
                    yield pending[0] if len(pending) == 1 else np.concatenate(pending)
                    pending, held = [], 0
        if held:
            yield np.concatenate(pending)

    def spoken(self, started: float, chunk_seconds: float, first_turn: int = 0) -> list[SpokenWord]:
        """Every word, due when the chunk that holds its end was meant to be sent.

        Args:
            started: when the microphone was opened, on the monotonic clock; chunk k is meant to be sent at
                started + (k + 1) · chunk_seconds.
            chunk_seconds: the length of a chunk.
            first_turn: how many clips the stream said before.
        """
        words = []
        said = [(part, part.clip) for part in self.parts if part.clip is not None]
        for turn, (part, clip) in enumerate(said, first_turn):
            whole = part.length >= len(clip.samples)
            for token in clip.tokens:
                if not whole and token.end > part.length / RATE + _CUT_SECONDS:
                    break
                end = part.start / RATE + min(token.end, part.length / RATE)
                chunks = math.ceil(end / chunk_seconds - _HAIR)
                words.append(SpokenWord(token.word, started + chunks * chunk_seconds, clip.name, turn))
        return words


def make_playlist(clips: tuple[Clip, ...], first: int, seconds: float, duty_cycle: float = 1.0) -> Playlist:
    """Whole clips from clip number `first` on, until no more fits into `seconds`, then silence to the end.

    Of a stretch of speech that is too long, its beginning is said, up to a silence.

    Args:
        clips: the corpus.
        first: where in it this stream begins, so that no two streams say the same at once.
        seconds: how long the stream lasts.
        duty_cycle: the share of the time in which somebody speaks, 0 to 1; 1 leaves only short pauses.
    """
    total = int(seconds * RATE)
    parts: list[PlaylistPart] = []
    at = 0
    order = [clips[(first + k) % len(clips)] for k in range(len(clips))]
    while True:
        chosen = _next_that_fits(order, total - at)
        if chosen is None:
            break
        clip = order.pop(chosen)
        order.append(clip)
        length = len(clip.samples)
        if length > total - at:
            length = quiet_end(clip.samples, RATE, total - at)
        parts.append(PlaylistPart(at, length, clip))
        at += length
        pause = min(_pause(clip, duty_cycle), total - at)
        if pause > 0:
            parts.append(PlaylistPart(at, pause, None))
            at += pause
    if at < total:
        parts.append(PlaylistPart(at, total - at, None))
    assert all(a.start + a.length == b.start for a, b in pairwise(parts))
    return Playlist(tuple(parts))


def is_cut(clip_seconds: float, room_seconds: float) -> bool:
    """Whether a stream with so much time left says the beginning of a clip that is longer than that."""
    return clip_seconds > LONG_SECONDS and room_seconds >= _LEAST_SECONDS


def _next_that_fits(order: list[Clip], room: int) -> int | None:
    """The next clip that is said whole; else the next of which a part is, whatever came before it."""
    whole = next((k for k, clip in enumerate(order) if len(clip.samples) <= room), None)
    part = next((k for k, clip in enumerate(order) if is_cut(clip.seconds, room / RATE)), None)
    return part if whole is None or (part is not None and part < whole) else whole


def _pause(clip: Clip, duty_cycle: float) -> int:
    return int(pause_seconds(clip.seconds, duty_cycle) * RATE)
