"""When a word was first shown and when it was stable, through revisions, repeats and losses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.word_latency import TextUpdate, align_words, errors_by_clip, score, total_score, word_latencies


def _spoken(text: str, step: float = 1.0) -> list[SpokenWord]:
    return [SpokenWord(word, step * (k + 1)) for k, word in enumerate(text.split())]


def _pairs(text: str, updates: list[TextUpdate]) -> list[tuple[float, float]]:
    return [(round(w.first, 6), round(w.stable, 6)) for w in word_latencies(_spoken(text), updates)]


def test_a_word_is_first_shown_when_it_appears_and_stable_when_it_stays() -> None:
    updates = [TextUpdate(1.5, "", "the"), TextUpdate(2.5, "", "the cat"), TextUpdate(3.5, "", "the cat sat")]
    assert _pairs("the cat sat", updates) == [(0.5, 0.5)] * 3


def test_a_word_that_was_changed_and_came_back_is_stable_only_then() -> None:
    updates = [TextUpdate(2.1, "", "the cat"), TextUpdate(2.5, "", "the cap"), TextUpdate(3.2, "", "the cat sat")]
    assert _pairs("the cat sat", updates) == [(pytest.approx(1.1), pytest.approx(1.1)), (0.1, 1.2), (0.2, 0.2)]


def test_a_final_that_repeats_the_partial_changes_nothing() -> None:
    updates = [TextUpdate(2.0, "", "the cat"), TextUpdate(9.0, "The cat.", "")]
    assert _pairs("the cat", updates) == [(1.0, 1.0), (0.0, 0.0)]


def test_a_word_that_moves_into_the_next_segment_keeps_its_times() -> None:
    updates = [TextUpdate(3.0, "", "the cat sat"), TextUpdate(3.5, "the cat", "sat"), TextUpdate(4.0, "sat", "")]
    assert _pairs("the cat sat", updates) == [(2.0, 2.0), (1.0, 1.0), (0.0, 0.0)]


def test_a_wrong_first_word_does_not_shift_the_others() -> None:
    updates = [TextUpdate(2.0, "", "uh the cat"), TextUpdate(3.0, "", "the cat sat")]
    assert _pairs("the cat sat", updates) == [(1.0, 1.0), (0.0, 0.0), (0.0, 0.0)]


def test_repeated_words_are_told_apart_by_their_place() -> None:
    updates = [TextUpdate(1.5, "", "no"), TextUpdate(2.5, "", "no no"), TextUpdate(3.5, "", "no no no")]
    assert _pairs("no no no", updates) == [(0.5, 0.5)] * 3


def test_a_word_heard_wrongly_has_no_latency() -> None:
    assert _pairs("the cat sat", [TextUpdate(4.0, "the hat sat", "")]) == [(3.0, 3.0), (1.0, 1.0)]


def test_nothing_shown_gives_no_latency_and_every_word_missing() -> None:
    assert not word_latencies(_spoken("the cat"), [])
    assert score(["the", "cat"], "").deletions == 2


def test_the_score_counts_as_jiwer_does_after_normalisation() -> None:
    found = score(("i", "am", "here", "now"), "I'm here today, now")
    assert (found.hits, found.substitutions, found.deletions, found.insertions) == (4, 0, 0, 1)


def test_errors_are_counted_where_they_happen() -> None:
    spoken = [
        *(SpokenWord(word, 0.0, "one") for word in ("the", "cat", "sat")),
        *(SpokenWord(word, 0.0, "two") for word in ("all", "day", "long")),
    ]

    def errors(text: str) -> dict[str, tuple[int, int]]:
        return errors_by_clip(zip(spoken, align_words(spoken, text), strict=True))

    assert errors("the hat sat all long today") == {"one": (1, 3), "two": (2, 3)}
    assert errors("") == {"one": (3, 3), "two": (3, 3)}
    assert align_words([], "noise") == []


def test_fates_add_up_to_the_score() -> None:
    said, text = "the cat sat on the mat all day", "a cat sat the mat all all day long"
    found = total_score(align_words(_spoken(said), text))
    assert found == score(said.split(), text)


_word = st.sampled_from(["red", "blue", "green", "old", "stone"])


@given(st.lists(_word, min_size=1, max_size=12), st.lists(st.integers(0, 12), max_size=12))
def test_whatever_was_shown_before_stable_is_never_earlier_than_first(words: list[str], cuts: list[int]) -> None:
    updates = [TextUpdate(float(k), "", " ".join(words[:cut])) for k, cut in enumerate(cuts)]
    updates.append(TextUpdate(100.0, " ".join(words), ""))
    found = word_latencies([SpokenWord(word, 0.0) for word in words], updates)
    assert len(found) == len(words)
    assert all(0 <= word.first <= word.stable <= 100 for word in found)
