"""Rates, lengths and shares as people type them: `40/min`, `6min`, `0.1%`."""

import re

from whisper_ops.errors import UserError

_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_RATE = re.compile(r"^\s*(?P<number>\d+(\.\d+)?)\s*(/|per|a)\s*(?P<unit>[a-z]+)\s*$", re.IGNORECASE)
_LENGTH = re.compile(r"^\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>[a-z]*)\s*$", re.IGNORECASE)
_SHARE = re.compile(r"^\s*(?P<number>\d+(\.\d+)?)\s*(?P<percent>%?)\s*$")


def rate(text: str, option: str) -> float:
    """`40/min` in events a second; UserError when it is none."""
    match = _RATE.match(text)
    unit = None if match is None else _SECONDS.get(match["unit"].lower())
    if match is None or unit is None:
        raise UserError(f"{option} takes a rate such as 40/min or 0.5/s, not {text!r}")
    return float(match["number"]) / unit


def length(text: str, option: str) -> float:
    """`6min` in seconds; a bare number is in seconds; UserError when it is none or 0."""
    match = _LENGTH.match(text)
    unit = None if match is None else _SECONDS.get(match["unit"].lower() or "s")
    if match is None or unit is None or float(match["number"]) <= 0:
        raise UserError(f"{option} takes a length such as 6min or 90s, not {text!r}")
    return float(match["number"]) * unit


def share(text: str, option: str) -> float:
    """`0.1%` or `0.001` as a share between 0 and 1, both excluded; UserError otherwise."""
    match = _SHARE.match(text)
    value = None if match is None else float(match["number"]) / (100 if match["percent"] else 1)
    if value is None or not 0 < value < 1:
        raise UserError(f"{option} takes a share such as 0.1% or 0.001, not {text!r}")
    return value
