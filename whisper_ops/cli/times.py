"""Moments as people write them."""

import re
import time
from datetime import datetime
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)(?:\s+ago)?")


class Moment(click.ParamType[float]):
    """`2h` or `2 h ago`, `2026-11-20 14:00` in local time, or UTC epoch seconds."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  # click's signature
        """UTC epoch seconds."""
        if isinstance(value, float):
            return value
        ago = _AGO.fullmatch(value.strip().lower())
        if ago and ago[2] in _UNITS:
            return time.time() - float(ago[1]) * _UNITS[ago[2]]
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value.strip()).timestamp()
        except ValueError:
            self.fail(f"{value!r} is no moment; write 2h, 2026-11-20 14:00 or epoch seconds", param, ctx)
