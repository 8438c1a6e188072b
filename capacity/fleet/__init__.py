"""Fleets: how many GPUs and machines carry a demand, with what blocking, after losing one, and at what cost."""
