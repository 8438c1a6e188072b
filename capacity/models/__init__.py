"""Scaling laws: how a figure grows with the number of streams, with an interval for what it will do next."""
