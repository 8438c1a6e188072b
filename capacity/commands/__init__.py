"""The commands that measure and plan."""
