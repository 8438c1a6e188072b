"""The protocols that clients speak over a WebSocket."""
