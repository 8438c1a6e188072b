"""Learns how long batches take, and from that the batch size and the cadence of partials.

T(B, c) = a + b·B·c: a batch of B rows of c seconds of context. For windows as short as ours the encoder's time grows
almost in proportion to their length. Older batches decay, so that a change of load or a throttling card is followed.
Pure.
"""

from server.measured_choice import MeasuredChoice

FORGET = 0.98
"""The weight of a batch after the next one."""
SHARE = 0.8
"""Of the engine's time that partials may use; the rest is for finals."""
SLOWEST_SECONDS = 2.0
"""The longest cadence; beyond it partials are late."""
LONGEST_SECONDS = 0.5
"""The longest batch, since a final that is due meanwhile waits for it."""
WORTH = 4.0
"""A batch's rows take at least so many times its fixed part: four fifths of the highest throughput."""
FEW = 4
"""On a CPU: rows batched however long they take."""
SLOW_SECONDS = 1.0
"""On a CPU: larger batches may take so long."""
LARGER_WORTH = 0.12
"""On a CPU: the share of a row's time that larger batches must save, since their texts come later."""
_ENOUGH = 5.0
"""The weight of batches that a figure needs."""


class ServiceTime:
    """The service time of one engine with `lanes` batches at once."""

    def __init__(self, lanes: int, max_batch: int) -> None:
        self._lanes, self._max_batch = lanes, max_batch
        self._n = self._x = self._y = self._xx = self._xy = self._c = self._rows = 0.0
        self._larger = MeasuredChoice(LARGER_WORTH)

    def decoded(self, rows: int, context_s: float, seconds: float) -> None:
        """Add a batch; `seconds`: from its dispatch to the end of its last row."""
        x = rows * context_s
        self._n, self._c = FORGET * self._n + 1.0, FORGET * self._c + context_s
        self._rows = FORGET * self._rows + rows
        self._x, self._y = FORGET * self._x + x, FORGET * self._y + seconds
        self._xx, self._xy = FORGET * self._xx + x * x, FORGET * self._xy + x * seconds
        if rows >= FEW:
            self._larger.measured(seconds / x, other=rows > FEW)

    def seconds(self, rows: int) -> float | None:
        """T(B) at the usual context; None while too little is known."""
        if self._n < _ENOUGH:
            return None
        a, b = self._law()
        return max(0.0, a + b * rows * self._c / self._n)

    def _law(self) -> tuple[float, float]:
        spread = self._xx - self._x * self._x / self._n
        # Batches of one size only: assume proportion, which holds for large ones.
        known = spread > 1e-3 * self._xx
        slope = (self._xy - self._x * self._y / self._n) / spread if known else self._y / self._x
        slope = max(0.0, slope)
        return (self._y - slope * self._x) / self._n, slope

    def rows(self) -> int:
        """The batch size: at most `max_batch`, within `LONGEST_SECONDS`.

        But not so small that the fixed part dominates: throughput goes first.
        """
        took = self.seconds(self._max_batch)
        if took is None or took <= LONGEST_SECONDS:
            return self._max_batch
        a, b = self._law()
        a, row_s = max(0.0, a), b * self._c / self._n
        if not row_s:
            return self._max_batch
        quick, worth = (LONGEST_SECONDS - a) / row_s, WORTH * a / row_s
        return max(1, min(self._max_batch, int(max(quick, worth))))

    def rows_in_time(self) -> int:
        """The batch size on a CPU, where batching saves little: a fifth of a row's time here, nothing there.

        A final that is due meanwhile waits half as long for a batch of four as for one of eight.
        """
        if self._n < _ENOUGH:
            return self._max_batch
        few, each = min(FEW, self._max_batch), self._y / self._rows
        most = min(self._max_batch, int(SLOW_SECONDS / max(each, 1e-9)))
        return most if most > few and self._larger.other() else few

    def cadence(self, wished_s: float, speaking: int) -> float:
        """Seconds between two partials of a stream while so many speak: as wished, or as the engine allows."""
        rows = self.rows()
        took = self.seconds(rows)
        if not took:
            return wished_s
        needed = speaking * took / (SHARE * self._lanes * rows)
        return min(max(wished_s, needed), max(wished_s, SLOWEST_SECONDS))
