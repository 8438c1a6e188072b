"""Tokens' times: dynamic time warping over the alignment heads' attention, as in OpenAI's code."""

import numpy as np
from numpy.typing import NDArray

_MEDIAN = 7
"""Width of the median filter, in encoder frames."""


def path(attention: NDArray[np.float32], frames: int, begin: int) -> list[tuple[int, int]]:
    """The alignment path: pairs of a token's place and an encoder frame (20 ms), in order.

    Args:
        attention: [heads, P, C], each row a distribution over all positions.
        frames: positions that are audio, not padding.
        begin: the position in P that predicts the first text token.
    """
    weights = attention[:, :, : max(1, frames)]
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    cost = -_smoothed(weights).mean(axis=0)[begin:-1]
    return _cheapest(cost)


def _smoothed(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    half = _MEDIAN // 2
    if weights.shape[-1] <= half:
        return weights
    padded = np.pad(weights, ((0, 0), (0, 0), (half, half)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN, axis=-1)
    return np.asarray(np.median(windows, axis=-1), np.float32)


def _cheapest(cost: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The cheapest path from the first cell to the last, by steps of one token, one frame, or both."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    # Cells of one anti-diagonal do not depend on each other.
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.minimum(total[i - 1, j - 1], np.minimum(total[i - 1, j], total[i, j - 1]))
        total[i, j] = cost[i - 1, j - 1] + before
    i, j, way = rows, columns, []
    while i > 0 and j > 0:
        way.append((i - 1, j - 1))
        ways = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        best = int(np.argmin(ways))
        i, j = i - (best != 2), j - (best != 1)
    return way[::-1]
