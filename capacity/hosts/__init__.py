"""The machine under a server: what it has, what one connection takes of it, and what that allows."""
