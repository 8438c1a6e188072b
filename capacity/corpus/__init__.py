"""Speech to play: clips, their text and word times, and how a stream strings them together."""
