"""The commands that watch: `dash` and `record`."""
