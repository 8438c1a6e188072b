"""Bounds on connections: how many, from whom, and what each may cost. They hold no slot yet."""
