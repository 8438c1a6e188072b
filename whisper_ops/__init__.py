"""The spine of whisper-ops: the command line, settings, the wire models and the history store."""

__version__ = "0.1.0"
