"""A plan outside the terminal: Markdown, one HTML file, configuration that carries its numbers, and what changed."""
