"""Readings of the machine, the snapshot, and `/metrics`."""
