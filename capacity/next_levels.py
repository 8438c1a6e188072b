"""Which levels would tell most next: few, within the server's slots, and none that is surely known.

Levels are numbers of streams on all GPUs of a server together, as `sweep --levels` takes them.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

MINUTE = 60.0
_LONGER_SECONDS = 300.0
_HOLD_SECONDS = 1800.0
_WIDE = 2.0
"""Ends further apart than this, by ratio, say little by themselves: levels between them say more than both again."""
_TIGHT = 0.05
"""Ends no further apart than this share of the lower one are as near as a limit is sharp."""
_REPEATS = 3
"""So often each end is measured for its chance to pass."""

_MOST_AGAIN = 3

Aim = Literal[
    "close_in", "firm", "repeat", "hold", "find_failure", "find_pass", "more_slots", "smaller_model", "undisturbed"
]


class TriedLevel(msgspec.Struct, frozen=True):
    """What is known of one number of streams."""

    passed: bool
    """Each time it was measured."""
    firm: bool = True
    """Whether it was long enough to be sure of."""
    repeats: int = 1


class NextLevels(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure next, and what for."""

    aim: Aim
    levels: tuple[int, ...] = ()
    """Empty: no level says more, whatever it is."""
    seconds: float = MINUTE
    """Each."""

    @property
    def soak(self) -> bool:
        """Whether it is one level that is held for long."""
        return self.seconds >= _HOLD_SECONDS

    @property
    def times(self) -> int:
        """How often each is measured."""
        return _REPEATS if self.aim == "repeat" else 1


def next_levels(tried: Mapping[int, TriedLevel], slots: int | None = None, gpus: int = 1) -> NextLevels:
    """What to measure next.

    Args:
        tried: what gave an answer, by streams.
        slots: how many streams the server takes at once; None: not known.
        gpus: levels are whole multiples of them, so that each GPU has as many.
    """
    last, fail = ends(tried)
    if last is not None and slots is not None and (last >= slots or (fail is not None and fail > slots)):
        fail = None  # the slots end it, and no load
    if last is None:
        return _below(fail, tried, slots, gpus)
    if fail is None:
        return _above(last, tried[last].firm, slots, gpus)
    return _between(last, fail, tried, gpus)


def undisturbed(levels: Collection[int], slots: int | None = None) -> NextLevels:
    """The lowest of these again, which other programs kept from passing."""
    again = sorted(level for level in levels if slots is None or level <= slots)
    return NextLevels(aim="undisturbed", levels=tuple(again[:_MOST_AGAIN] or [1]))


def ends(tried: Mapping[int, TriedLevel]) -> tuple[int | None, int | None]:
    """The last level that passed and the first that failed; a pass above a failure is luck."""
    fail = min((streams for streams, one in tried.items() if not one.passed), default=None)
    last = max((n for n, one in tried.items() if one.passed and (fail is None or n < fail)), default=None)
    return last, fail


def _between(last: int, fail: int, tried: Mapping[int, TriedLevel], gpus: int) -> NextLevels:
    """Closing in on a limit that has two ends."""
    tight = fail - last <= max(gpus, round(_TIGHT * last))
    if fail > _WIDE * last and not tight:
        inner = {_inside(last, fail, share, gpus) for share in (1 / 3, 2 / 3)} - {last, fail}
        return NextLevels(aim="close_in", levels=tuple(sorted(inner)))
    middle = () if tight else (_inside(last, fail, 1 / 2, gpus),)
    weak = [end for end in (last, fail) if not tried[end].firm]
    if weak:
        return NextLevels(aim="firm", levels=tuple(sorted({*weak, *middle})))
    if middle:
        return NextLevels(aim="close_in", levels=middle, seconds=_LONGER_SECONDS)
    if min(tried[last].repeats, tried[fail].repeats) < _REPEATS:
        return NextLevels(aim="repeat", levels=(last, fail))
    return NextLevels(aim="hold", levels=(last,), seconds=_HOLD_SECONDS)


def _above(last: int, firm: bool, slots: int | None, gpus: int) -> NextLevels:
    """Looking for a level that fails, as far as the server has slots."""
    if slots is None or last < slots:
        double = max(2 * last, 2 * gpus)
        return NextLevels(aim="find_failure", levels=(double if slots is None else min(double, slots),))
    # With all slots taken there is only time to add. Fewer of them than were measured: it was started anew since.
    return NextLevels(aim="more_slots", levels=(slots,), seconds=_HOLD_SECONDS if firm else MINUTE)


def _below(fail: int | None, tried: Mapping[int, TriedLevel], slots: int | None, gpus: int) -> NextLevels:
    """Where nothing passed yet, or nothing gave an answer."""
    if fail is None:
        return NextLevels(aim="find_pass", levels=_within((gpus, 2 * gpus), slots))
    if fail > gpus:
        shares = (fail // 8, fail // 4, fail // 2)
        return NextLevels(aim="find_pass", levels=_within([max(share // gpus, 1) * gpus for share in shares], slots))
    return NextLevels(aim="smaller_model", levels=() if tried[fail].firm else (fail,))


def _inside(last: int, fail: int, share: float, gpus: int) -> int:
    """A level between two, by ratio; a multiple of the GPUs where one lies there."""
    wanted: float = last * (fail / last) ** share
    whole = round(wanted / gpus) * gpus
    return whole if last < whole < fail else min(fail - 1, max(last + 1, round(wanted)))


def _within(levels: tuple[int, ...] | list[int], slots: int | None) -> tuple[int, ...]:
    return tuple(sorted({level if slots is None else min(level, slots) for level in levels}))
