"""Rows that were encoded apart, put together for one decode."""

import numpy as np

from server.engines.batch_encoding import SILENT_FRAMES, joined


def test_shorter_rows_are_filled_up_with_their_own_silence() -> None:
    short, long = (np.arange(frames, dtype=np.float32).reshape(1, -1, 1) + 0.5 for frames in (200, 290))
    both = joined([short, long])
    assert both.shape == (2, 290, 1)
    assert np.array_equal(both[1:], long)
    assert np.array_equal(both[:1, :200], short)
    filled = both[0, 200:, 0] - 0.5
    assert filled.min() >= 200 - SILENT_FRAMES
    assert filled.max() < 200
    assert np.array_equal(filled[:SILENT_FRAMES], np.arange(200 - SILENT_FRAMES, 200))


def test_one_row_is_as_it_was() -> None:
    row = np.ones((1, 200, 3), np.float32)
    assert np.array_equal(joined([row]), row)
