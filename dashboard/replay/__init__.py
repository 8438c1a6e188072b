"""Feeds of the screens: live pollers, or the past out of the history."""
