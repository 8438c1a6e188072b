"""Readings of this machine and its GPUs, for the server and for a dashboard that watches a machine without one."""
