"""Pollers, alerts, the terminal screens and the recorder. It imports only the spine."""
