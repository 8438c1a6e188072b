"""Bucket counts: quantiles within a bucket's width, differences that survive restarts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_ops.histogram import BUCKETS, LATENCY_BOUNDS_SECONDS, LatencyHistogram, difference, quantile

latencies = st.lists(st.floats(0, 59.9), min_size=1, max_size=200)


@given(latencies, st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_falls_into_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    true = float(np.quantile(values, q, method="inverted_cdf"))
    told = LatencyHistogram(values).quantile(q)
    edges = [0.0, *LATENCY_BOUNDS_SECONDS]
    bucket = next(i for i in range(1, len(edges)) if true <= edges[i])
    assert told is not None
    assert edges[bucket - 1] - 1e-9 <= told <= edges[bucket] + 1e-9


def test_nothing_observed_has_no_quantile() -> None:
    assert LatencyHistogram().quantile(0.95) is None


def test_above_the_last_bound_the_answer_is_at_least_that_bound() -> None:
    assert LatencyHistogram([500.0]).quantile(0.5) == 60.0


def test_a_share_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not at 95"):
        quantile([1], 95)


@given(latencies, latencies)
def test_what_was_counted_between_two_readings_is_their_difference(first: list[float], second: list[float]) -> None:
    histogram = LatencyHistogram(first)
    before = list(histogram.counts)
    for value in second:
        histogram.observe(value)
    assert difference(histogram.counts, before) == LatencyHistogram(second).counts
    assert difference(histogram.counts, None) == histogram.counts


def test_a_counter_that_went_down_was_restarted() -> None:
    assert difference([1, 0], [5, 5]) == [1, 0]


def test_the_number_of_buckets_is_a_promise_of_the_history() -> None:
    assert BUCKETS == 33
    assert sorted(LATENCY_BOUNDS_SECONDS) == list(LATENCY_BOUNDS_SECONDS)
