"""Student's t and the normal distribution, as far as plans need them.

Written out, because importing scipy.special takes longer than all the rest of a short `plan`; a test holds it against
scipy's.
"""

import math
from functools import lru_cache
from statistics import NormalDist

_TERMS = 300
_TINY = 1e-300
_EXACT = 1e-15


def normal_below(z: float) -> float:
    """The chance that a standard normal figure is below `z`."""
    return math.erfc(-z / math.sqrt(2)) / 2


@lru_cache(maxsize=4096)
def quantile(freedom: float, probability: float) -> float:
    """What a standardised figure stays below with this probability, in standard errors; one degree of freedom at least.

    Args:
        freedom: degrees of freedom, as readings less what was fitted to them.
        probability: one-sided, between 0 and 1; for a two-sided interval of 95 % it is 0.975.
    """
    freedom = max(freedom, 1.0)
    if probability < 0.5:
        return -quantile(freedom, 1 - probability)
    tail = 1 - probability
    # It lies above the normal's; from there on twice as far until it is passed, and then between the two.
    low = NormalDist().inv_cdf(probability) if tail < 0.5 else 0.0
    high = max(2 * low, 1.0)
    while _above(high, freedom) > tail:
        low, high = high, 2 * high
    at = (low + high) / 2
    for _ in range(200):
        over = _above(at, freedom) - tail
        low, high = (at, high) if over > 0 else (low, at)
        step = at + over / _density(at, freedom)
        nearer = step if low < step < high else (low + high) / 2
        if abs(nearer - at) <= 4 * _EXACT * max(abs(nearer), 1e-6):
            return nearer
        at = nearer
    return at


def _density(t: float, freedom: float) -> float:
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    return math.exp(log - (freedom + 1) / 2 * math.log1p(t * t / freedom))


def _above(t: float, freedom: float) -> float:
    """The chance to be above t ≥ 0: half the regularised incomplete beta function."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t)) / 2


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b), with 1 - x given apart, which near 1 has more digits; by the continued fraction of DLMF 8.17.22."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, rest, x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(log) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """By Lentz's method, front to back."""
    value, above, below = 1.0, 1.0, 0.0
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / ((1 + numerator * below) or _TINY)
        above = (1 + numerator / above) or _TINY
        value *= above * below
        if abs(above * below - 1) < _EXACT:
            break
    return value
