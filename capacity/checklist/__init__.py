"""`whisper-ops check`: an operator's verification list, run against a live server."""
