"""Moments as people write them."""

import time
from datetime import datetime
from typing import Any

import click

from whisper_ops.units import amount, seconds


class TimeType(click.ParamType[float]):
    """`2h` or `2 h ago`, `2026-11-20 14:00` in local time, or UTC epoch seconds."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  # click's signature
        """UTC epoch seconds."""
        if isinstance(value, float):
            return value
        text = value.strip().lower()
        epoch = amount(text)
        if epoch is not None and not epoch[1]:
            return epoch[0]
        ago = seconds(text.removesuffix("ago"))
        if ago is not None:
            return time.time() - ago
        try:
            return datetime.fromisoformat(value.strip()).timestamp()
        except ValueError:
            self.fail(f"{value!r} is not a time; write 2h, 2026-11-20 14:00 or epoch seconds", param, ctx)
