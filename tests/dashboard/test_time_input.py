"""Moments and lengths of time as people write them."""

from datetime import UTC, datetime

import pytest

from dashboard import time_input
from whisper_ops.errors import UserError

NOW = datetime(2026, 11, 21, 14, 3, 27, tzinfo=UTC).timestamp()  # a Saturday


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("yesterday 14:00", "2026-11-20 14:00:00"),
        ("Yesterday at 14:00", "2026-11-20 14:00:00"),
        ("today 9:05", "2026-11-21 09:05:00"),
        ("14:03", "2026-11-21 14:03:00"),
        ("23:59", "2026-11-20 23:59:00"),
        ("14:03:05", "2026-11-21 14:03:05"),
        ("tuesday 14:03", "2026-11-17 14:03:00"),
        ("last tue 14.03", "2026-11-17 14:03:00"),
        ("saturday 10:00", "2026-11-14 10:00:00"),
        ("monday", "2026-11-16 00:00:00"),
        ("1 h ago", "2026-11-21 13:03:27"),
        ("90 min ago", "2026-11-21 12:33:27"),
        ("-2d", "2026-11-19 14:03:27"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20 14:00", "2026-11-20 14:00:00"),
        ("2026-11-20t14:00:00+01:00", "2026-11-20 13:00:00"),
    ],
)
def test_moments_are_read_as_people_write_them(text: str, moment: str) -> None:
    read = datetime.fromtimestamp(time_input.parse(text, NOW, UTC), UTC)
    assert read.strftime("%Y-%m-%d %H:%M:%S") == moment


@pytest.mark.parametrize("text", ["", "soon", "25:00", "someday 14:00", "14:00 yesterday morning", "tuesday noon"])
def test_what_is_no_moment_is_told_with_examples(text: str) -> None:
    with pytest.raises(UserError, match="yesterday 14:00"):
        time_input.parse(text, NOW, UTC)


def test_the_future_cannot_be_replayed() -> None:
    with pytest.raises(UserError, match="future"):
        time_input.parse("2027-01-01", NOW, UTC)


def test_a_length_of_time_is_read_or_refused() -> None:
    assert time_input.length("5 min") == 300
    with pytest.raises(UserError, match="no length of time"):
        time_input.length("a while")
