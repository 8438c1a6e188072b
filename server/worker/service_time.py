"""How long batches take, learnt as they are decoded: how many rows go together, and how often streams may ask.

T(B, c) = a + b·B·c: a batch of B rows of c seconds of context. For windows as short as ours the encoder's time grows
with their length almost in proportion. Old batches count ever less, so that another load, or a card that throttles, is
followed. Pure.
"""

FORGET = 0.98
"""What a batch counts for after the next one."""
SHARE = 0.8
"""Of the engine's time that partials may fill; the rest is for finals, which come when people stop."""
SLOWEST_SECONDS = 2.0
"""A cadence is stretched to this at most: beyond it, deadlines slip by themselves."""
LONGEST_SECONDS = 0.5
"""No batch shall take longer, as a final that comes meanwhile waits for it."""
WORTH = 4.0
"""A batch's rows take so many times what the batch itself does, at least: four fifths of the most it can decode."""
FEW = 4
"""Rows that go together however long they take."""
SLOW_SECONDS = 1.0
"""More rows than a few go together where that takes no longer."""
_ENOUGH = 5.0
"""Batches' weight before anything is said."""


class ServiceTime:
    """The law of one engine, whose batches overlap in so many lanes."""

    def __init__(self, lanes: int, max_batch: int) -> None:
        self._lanes, self._max_batch = lanes, max_batch
        self._n = self._x = self._y = self._xx = self._xy = self._c = self._rows = 0.0

    def decoded(self, rows: int, context_s: float, seconds: float) -> None:
        """A batch took so long, from when it was taken until its last row had ended."""
        x = rows * context_s
        self._n, self._c = FORGET * self._n + 1.0, FORGET * self._c + context_s
        self._rows = FORGET * self._rows + rows
        self._x, self._y = FORGET * self._x + x, FORGET * self._y + seconds
        self._xx, self._xy = FORGET * self._xx + x * x, FORGET * self._xy + x * seconds

    def seconds(self, rows: int) -> float | None:
        """T(B) at the usual context; None while too little is known."""
        if self._n < _ENOUGH:
            return None
        a, b = self._law()
        return max(0.0, a + b * rows * self._c / self._n)

    def _law(self) -> tuple[float, float]:
        spread = self._xx - self._x * self._x / self._n
        # Batches of one size alone say nothing of other sizes: in proportion, then, which is what large ones come to.
        known = spread > 1e-3 * self._xx
        slope = (self._xy - self._x * self._y / self._n) / spread if known else self._y / self._x
        slope = max(0.0, slope)
        return (self._y - slope * self._x) / self._n, slope

    def rows(self) -> int:
        """How many rows to decode together: as many as are allowed and do not keep a final waiting for long.

        But never so few that the engine spends its time on beginnings: what it decodes in all goes first.
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
        """How many rows to decode together where each costs nearly what it costs alone, as on a CPU.

        Two batches of four take a fifth more than one of eight, and a final that comes meanwhile waits half as long.
        """
        if self._n < _ENOUGH:
            return self._max_batch
        each = self._y / self._rows
        return max(min(FEW, self._max_batch), min(self._max_batch, int(SLOW_SECONDS / max(each, 1e-9))))

    def cadence(self, wished_s: float, speaking: int) -> float:
        """Seconds between two partials of a stream when so many speak: as wished, or as long as the engine needs."""
        rows = self.rows()
        took = self.seconds(rows)
        if not took:
            return wished_s
        needed = speaking * took / (SHARE * self._lanes * rows)
        return min(max(wished_s, needed), max(wished_s, SLOWEST_SECONDS))
