"""The spine of whisper-ops: the command line, settings, the wire models and the history store."""

import sys

# httpx imports its own command line with it, and half of rich and pygments with that: 40 % of what it takes to start.
# Where that module cannot be imported it does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how Python marks what cannot be had

__version__ = "0.1.0"
