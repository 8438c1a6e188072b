"""The kinds of servers that can be polled, each a `dashboard.source.Source`."""
