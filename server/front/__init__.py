"""The front process: HTTP, WebSockets, admission, sessions, and the supervision of the workers."""
