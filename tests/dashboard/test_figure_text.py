"""Figures as a reader sees them, and unknown ones as `—`."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import figure_text as f
from dashboard.trend import Rate, Trend
from dashboard.tui.pages.gauges import knee, spark
from dashboard.tui.pages.styled_lines import Cell


def text(cell: Cell) -> str:
    return "".join(span.text for span in cell)


@pytest.mark.parametrize(
    "show",
    [
        f.count,
        f.number,
        f.seconds,
        f.milliseconds,
        f.duration,
        f.percent,
        f.celsius,
        f.hertz,
        f.size,
        f.clock,
        f.moment,
    ],
)
def test_unknown_is_a_dash_and_never_zero(show: object) -> None:
    assert callable(show)
    assert show(None) == "—"


@pytest.mark.parametrize("show", [f.count, f.number, f.seconds, f.percent, f.celsius, f.hertz, f.size, f.duration])
def test_what_is_no_number_is_unknown_too(show: object) -> None:
    assert callable(show)
    assert show(float("nan")) == "—"
    assert show(float("inf")) == "—"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (f.count(1024), "1,024"),
        (f.seconds(0.618), "0.62 s"),
        (f.seconds(12.34), "12.3 s"),
        (f.seconds(1040), "1,040 s"),
        (f.milliseconds(0.0042), "4.2 ms"),
        (f.milliseconds(1.5), "1,500 ms"),
        (f.duration(0.4), "0 s"),
        (f.duration(72), "1 m 12 s"),
        (f.duration(3 * 3600 + 5 * 60), "3 h 05 m"),
        (f.duration(6 * 86400 + 4 * 3600), "6 d 4 h"),
        (f.percent(0.834), "83 %"),
        (f.percent(0.004), "0.4 %"),
        (f.percent(0.0), "0 %"),
        (f.celsius(71.2), "71 °C"),
        (f.hertz(1.98e9), "1.98 GHz"),
        (f.hertz(795e6), "795 MHz"),
        (f.size(14.94e9), "14.9 GB"),
        (f.size(120e9), "120 GB"),
        (f.size(5), "5 B"),
        (f.size_of(14.94e9, 80e9), "14.9/80 GB"),
        (f.size_of(None, 80e9), "—/80 GB"),
        (f.size_of(None, None), "—"),
        (f.watts_of(412, 700), "412/700 W"),
        (f.watts_of(None, 700), "—"),
        (f.clock(1_795_269_807.0, UTC), "14:03:27"),
        (f.moment(1_795_269_807.0, UTC), "Sat 21 Nov 14:03:27"),
        (f.fitted("asr-frankfurt-02.example", 12), "asr-….example"),
    ],
)
def test_figures_read_well(shown: str, expected: str) -> None:
    assert shown == expected or (expected.startswith("asr-") and shown.endswith("example") and len(shown) == 12)


def test_a_share_of_nothing_is_unknown() -> None:
    assert f.share(3, 0) is None
    assert f.share(None, 4) is None
    assert f.share(1, 4) == 0.25


@pytest.mark.parametrize(
    ("now", "safe", "seen", "shown"),
    [
        (0, 72, 80, "·············│·"),
        (36, 72, 80, "██████▊······│·"),
        (80, 72, 80, "█████████████│█"),
        (None, 72, 80, "·············│·"),
        (200, 72, 80, "█████│█████████"),
    ],
)
def test_the_knee_gauge_shows_now_safe_and_seen(now: int | None, safe: int, seen: int, shown: str) -> None:
    assert text(knee(now, safe, seen, 15)) == shown


@given(
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.integers(0, 10_000),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.integers(2, 40),
    st.booleans(),
)
def test_a_gauge_is_always_as_wide_as_asked_with_one_mark(
    now: int | None, safe: int, seen: int | None, width: int, thin: bool
) -> None:
    drawn = text(knee(now, safe, seen, width, thin=thin))
    assert len(drawn) == width
    assert drawn.count("│") == 1


def test_a_sparkline_has_fixed_bounds_and_visible_gaps() -> None:
    assert text(spark([0.01, 0.02, 0.01], 2.0)) == "▁▁▁", "noise near zero stays flat"
    assert text(spark([0.0, None, 1.0, 2.0, 9.0], 2.0)) == "▁·▅██"
    assert [span.style for span in spark([0.1, 1.6, 2.5], 2.0, warn_at=1.5)] == ["fill", "warn", "bad"]


def test_a_trend_keeps_the_worst_of_each_half_minute() -> None:
    trend = Trend()
    for at, value in ((0, 0.1), (10, 0.9), (29, 0.2), (95, 0.4)):
        trend.add(at, value)
    trend.add(130, None)
    assert trend.values(140) == (None, None, None, None, None, 0.9, None, None, 0.4, None)


def test_a_trend_forgets_what_is_older_than_its_window() -> None:
    trend = Trend()
    trend.add(10, 1.0)
    assert trend.values(10_000) == (None,) * 10


def test_a_rate_survives_a_restart_of_what_it_counts() -> None:
    rate = Rate()
    assert rate.per_minute(0) is None
    rate.add(0, 100)
    assert rate.per_minute(1) == 0
    rate.add(10, 104)
    rate.add(20, 3)
    rate.add(25, None)
    assert rate.per_minute(30) == 7
    assert rate.per_minute(75) == 3
    assert rate.per_minute(200) == 0
