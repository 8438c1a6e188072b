"""Putting load on a server: paced streams in processes of their own, and what each of them measures."""
