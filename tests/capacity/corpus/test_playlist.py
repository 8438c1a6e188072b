"""What a stream says: whole clips, no gaps, every sample once, words due when their chunk is meant to go out."""

from pathlib import Path

import numpy as np
import pytest

from capacity.corpus.clips import RATE, Clip, Corpus, load
from capacity.corpus.playlist import make_playlist
from tests.capacity.double import coded_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load(coded_corpus(Path(tmp_path_factory.mktemp("speech")) / "coded"))


@pytest.mark.parametrize("chunk", [160, 1600, 1777])
def test_chunks_hold_every_sample_once_and_in_order(corpus: Corpus, chunk: int) -> None:
    playlist = make_playlist(corpus.clips, 3, 12.5)
    pieces = list(playlist.chunks(chunk))
    assert all(len(piece) == chunk for piece in pieces[:-1])
    whole = np.concatenate(pieces)
    assert len(whole) == playlist.samples == int(12.5 * RATE)
    for part in playlist.parts:
        sound = whole[part.start : part.start + part.length]
        assert np.array_equal(sound, part.clip.samples) if part.clip else not sound.any()


def test_streams_begin_at_different_clips(corpus: Corpus) -> None:
    firsts = {_clip(make_playlist(corpus.clips, k, 10).parts[0].clip).name for k in range(4)}
    assert len(firsts) == 4


def test_a_clip_is_never_cut(corpus: Corpus) -> None:
    playlist = make_playlist(corpus.clips, 0, 7.0)
    assert all(part.length == len(part.clip.samples) for part in playlist.parts if part.clip)


def test_the_duty_cycle_is_the_share_of_speech(corpus: Corpus) -> None:
    playlist = make_playlist(corpus.clips, 0, 120.0, duty_cycle=0.4)
    spoken = sum(part.length for part in playlist.parts if part.clip)
    assert spoken / playlist.samples == pytest.approx(0.4, abs=0.03)


def test_a_word_is_due_with_the_chunk_that_holds_its_end(corpus: Corpus) -> None:
    words = make_playlist(corpus.clips, 0, 5.0).spoken(started=100.0, chunk_seconds=0.1)
    # The first word ends with the third chunk, which is meant to go out at 0.3 s; the second at 0.65 s.
    assert words[0].due == pytest.approx(100.3)
    assert words[1].due == pytest.approx(100.7)


def test_too_short_a_time_for_any_clip_is_silence(corpus: Corpus) -> None:
    playlist = make_playlist(corpus.clips, 0, 0.5)
    assert [part.clip for part in playlist.parts] == [None]
    assert not make_playlist(corpus.clips, 0, 0.0).parts


def _clip(clip: Clip | None) -> Clip:
    assert clip is not None
    return clip
