"""Asking a server how it is: one client for the dashboard, the recorder, the load test, the check and the planner."""
