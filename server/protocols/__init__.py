"""The dialects that clients speak over a WebSocket."""
