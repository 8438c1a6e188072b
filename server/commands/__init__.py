"""The commands of the server: `serve` and `broker`."""
