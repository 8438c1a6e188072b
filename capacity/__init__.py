"""The speech corpus, load test, scaling laws and planner. It imports only the spine."""
