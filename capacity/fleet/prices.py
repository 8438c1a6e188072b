"""What GPUs cost: a TOML file of prices, and the cost of an hour of audio that follows."""

from pathlib import Path

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.user_files import read_toml

_MOST = 1e9
"""What costs more an hour, or has more GPUs, was mistyped."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a machine, or of a GPU where a provider sells them one by one."""

    per_gpu_hour: float
    currency: str = "USD"
    gpus_per_machine: int | None = None


def read_price(path: Path, gpu: str | None) -> Price:
    """Read a price file: `currency`, and a table a GPU name with `per_gpu_hour` or `per_machine_hour` and its GPUs.

    Raises:
        UserError: it cannot be read, or names no price for `gpu`.
    """
    said = read_toml(path, "the prices in ")
    tables = {name: table for name, table in said.items() if isinstance(table, dict)}
    flat = {name: value for name, value in said.items() if name not in tables}
    match = next((table for name, table in tables.items() if gpu and name.lower() in gpu.lower()), flat)
    price = _price(path, {**flat, **match})
    if price is None:
        known = ", ".join(tables) or "nothing"
        raise UserError(f"{path} has no price for {gpu or 'this device'}; it knows {known}; add per_gpu_hour = NUMBER")
    return price


def _price(path: Path, said: dict[str, object]) -> Price | None:
    gpus = said.get("gpus_per_machine")
    hour = said.get("per_gpu_hour")
    machine = said.get("per_machine_hour")
    for name, value in (("per_gpu_hour", hour), ("per_machine_hour", machine), ("gpus_per_machine", gpus)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
            raise UserError(f"{path}: {name} is {value!r}, which is not a number above 0")
    number = int(gpus) if isinstance(gpus, int | float) else None
    if isinstance(machine, int | float) and hour is None:
        hour = machine / (number or 1)
    if not isinstance(hour, int | float):
        return None
    return Price(per_gpu_hour=float(hour), currency=str(said.get("currency", "USD")), gpus_per_machine=number)
