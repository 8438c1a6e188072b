"""How sure a word error rate is, and what a level is told about it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_ops.objective import parse
from whisper_ops.objective.word_errors import (
    Excess,
    WordErrorVerdict,
    judge_word_errors,
    paired_excess,
    pooled,
    total_errors,
)

RELATIVE = parse("wer<=+1.5").terms[0]
ABSOLUTE = parse("wer<=10%").terms[0]


def said(*errors: int, words: int = 6) -> dict[str, tuple[int, int]]:
    return {f"clip {k}": (wrong, words) for k, wrong in enumerate(errors)}


def test_one_word_of_a_short_level_decides_nothing() -> None:
    # 48 words: a single word is 2 points.
    answer = judge_word_errors(RELATIVE, said(1, 0, 0, 0, 0, 0, 0, 0), said(0, 0, 0, 0, 0, 0, 0, 0))
    assert answer is not None
    assert answer.finding is not None
    assert not answer.finding.missed
    assert str(answer.finding).startswith("too few words to judge WER (48 of about ")
    assert str(answer.finding).endswith("): +2.1 ± 3.9 points, limit +1.5 points")


def test_errors_in_many_utterances_are_beyond_the_limit() -> None:
    answer = judge_word_errors(RELATIVE, said(1, 2, 1, 1, 2, 1, 0, 1), said(0, 0, 0, 0, 0, 0, 0, 0))
    assert answer is not None
    assert answer.finding is not None
    assert answer.finding.missed
    assert str(answer.finding) == "wer +18.8 ± 7.2 points > +1.5 points of one stream"


def test_as_many_errors_in_a_single_utterance_are_not() -> None:
    # One stream lost half a sentence: no reason to call nine words in 48 a rate.
    answer = judge_word_errors(RELATIVE, said(9, 0, 0, 0, 0, 0, 0, 0, words=12), said(0, 0, 0, 0, 0, 0, 0, 0, words=12))
    assert answer is not None
    assert answer.finding is not None
    assert not answer.finding.missed


def test_the_same_errors_in_the_same_utterances_are_no_difference() -> None:
    answer = judge_word_errors(RELATIVE, said(3, 0, 2, 0), said(3, 0, 2, 0))
    assert answer == WordErrorVerdict(None)


def test_an_absolute_limit_is_told_in_the_same_way() -> None:
    assert judge_word_errors(ABSOLUTE, said(0, 1, 0, 0), {}) == WordErrorVerdict(None)
    many = judge_word_errors(ABSOLUTE, said(*[2] * 12), {})
    assert many is not None
    assert str(many.finding) == "wer 33.3 ± 0.0 % > 10 %"


def others(*errors: int, words: int = 6) -> dict[str, tuple[int, int]]:
    return {f"other {k}": (wrong, words) for k, wrong in enumerate(errors)}


def test_without_a_common_utterance_a_few_words_tell_nothing() -> None:
    """Two errors in 66 words failed a level, whose one stream had said ten other utterances without one."""
    assert paired_excess(said(1), others(0)) is None
    for here, there in ((said(1), others(0)), (said(0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0), others(0, 0, 0, 0, 0))):
        answer = judge_word_errors(RELATIVE, here, there)
        assert answer is not None
        assert answer.finding is not None
        assert not answer.finding.missed
    many = judge_word_errors(RELATIVE, said(*[3] * 30), others(*[0] * 20))
    assert many is not None
    assert many.finding is not None
    assert many.finding.missed
    assert judge_word_errors(RELATIVE, said(*[0] * 30), others(1, 0, 0)) == WordErrorVerdict(None)
    assert judge_word_errors(RELATIVE, {}, others(0)) is None


def test_other_conditions_are_not_of_utterances() -> None:
    assert judge_word_errors(parse("stable_p95<=2s").terms[0], said(1), said(1)) is None
    assert total_errors({}) is None
    assert paired_excess({"one": (0, 0)}, {"one": (0, 0)}) is None


def test_utterances_are_compared_with_themselves() -> None:
    # The level also said one that everybody gets wrong; one stream did not.
    excess = paired_excess({"easy": (12, 100), "hard": (60, 100)}, {"easy": (1, 10)})
    assert excess is not None
    assert excess.value == pytest.approx(0.02)


def test_several_measurements_are_put_together() -> None:
    assert pooled({"one": (1, 6)}, {"one": (0, 6), "two": (2, 5)}) == {"one": (1, 12), "two": (2, 5)}


def test_so_many_words_do_tell() -> None:
    few = Excess((1.0, 0.0, 1.0, 0.0), (6, 6, 6, 6))
    assert few.beyond(0.015) == "open"
    enough = few.words_to_tell(0.015)
    assert enough is not None
    times = -(-enough // 24)
    assert Excess(few.wrong * times, few.words * times).beyond(0.015) == "yes"


def test_chance_alone_seldom_makes_a_level_miss() -> None:
    """Levels that are no worse than one stream, with utterances that are hard or easy as a whole."""
    chance = random.Random(5)
    missed = 0
    for _ in range(1000):
        difficulty = [chance.betavariate(0.3, 6) for _ in range(20)]
        levels = [said(*(sum(chance.random() < p for _ in range(8)) for p in difficulty), words=8) for _ in range(2)]
        answer = judge_word_errors(RELATIVE, levels[0], levels[1])
        missed += answer is not None and answer.finding is not None and answer.finding.missed
    assert missed <= 50


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=30), st.floats(0, 0.5))
def test_what_is_said_fits_the_value(pairs: list[tuple[int, int]], limit: float) -> None:
    excess = Excess(tuple(float(w) for w, _ in pairs), tuple(n for _, n in pairs))
    assert (excess.beyond(limit) == "no") == (excess.value <= limit + 1e-9)
    assert excess.margin >= 0
    if len(pairs) < 5:
        # A handful of utterances can always be luck.
        assert excess.beyond(limit) != "yes"
