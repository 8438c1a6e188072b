"""Polling: which servers, how often, through which source."""
