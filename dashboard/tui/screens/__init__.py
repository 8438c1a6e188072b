"""The screens: each takes the frozen world, formats a page from it, and handles the commands that are its own."""
