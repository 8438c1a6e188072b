"""What becomes of polls: the monitor, the recorder, and events found between two polls."""
