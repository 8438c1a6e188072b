"""What the dashboard shows, without a terminal: figures to text, text to lines, polls to the world of a moment.

Nothing here imports textual: `--once`, the tests and the docs read the same pages that the screens draw.
"""
