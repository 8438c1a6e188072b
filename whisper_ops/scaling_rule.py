"""How many workers a load wants: what a cluster's scaler does, and what `simulate` lets it do."""

import math

HEADROOM = 0.1
"""Slots beyond those in use, as a share of them."""
KUBERNETES_TOLERANCE = 0.1
"""Kubernetes' autoscaler does nothing within this share of its target."""
_EPSILON = 1e-9
"""10 streams and a tenth fill 11 slots, whatever binary fractions make of it."""


def workers_wanted(active: float, refused: float, slots: int, headroom: float = HEADROOM) -> int:
    """Workers of so many `slots` each for what is live, what was refused since the last look, and the headroom."""
    return math.ceil((active + refused) * (1 + headroom) / slots - _EPSILON)
