"""What `/` understands, and what it says when it does not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.tui.pages.filter_fields import Fact
from dashboard.tui.pages.filters import parse
from whisper_ops.errors import UserError

FACTS: dict[str, Fact] = {
    "server": "asr-fra-02", "state": "degraded", "lag": 1.7, "gpu": "NVIDIA H100 80GB", "rejects": None, "slots": 71.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("", True),
        ("   ", True),
        ("fra", True),
        ("FRA-02", True),
        ("h100", True),
        ("l40s", False),
        ("lag>1", True),
        ("lag > 1 & gpu~h100", True),
        ("lag>1 & gpu~l4", False),
        ("lag>9 | state=degraded", True),
        ("lag>9 | lag<1", False),
        ("lag>9 & slots=71 | slots>=71 & slots<=71", True),
        ("state!=degraded", False),
        ("state!=healthy", True),
        ("slots!=70", True),
        ("rejects>0", False),
        ("rejects=0", False),
    ],
)
def test_a_filter_means_what_it_says(text: str, meets: bool) -> None:
    assert parse(text).meets(FACTS) is meets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed>1", "knows no 'speed'"),
        ("lag>fast", "'fast' is no number"),
        ("lag~1", "lag is a figure"),
        ("state>1", "state is a word"),
        ("lag>", "says nothing"),
        ("a & ", "says nothing"),
        (">1", "says nothing"),
    ],
)
def test_a_filter_that_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(text)


@given(st.text(max_size=40))
def test_anything_typed_is_understood_or_refused_in_words(text: str) -> None:
    # Any other exception than the one that has a sentence would fail the test.
    with suppress(UserError):
        assert parse(text).meets(FACTS) in {True, False}
