"""`--max-connections-per-gpu` and `--max-batch` of `serve`: as given, or as planned for what runs."""

from pathlib import Path
from typing import Any

import click

from whisper_ops import __version__, known_software
from whisper_ops.cli.option_rules import typed
from whisper_ops.console import narration
from whisper_ops.errors import UserError
from whisper_ops.identity import Identity
from whisper_ops.plan.auto_limit import planned_limit
from whisper_ops.units import whole

_DEFAULT_BATCH = {(True, False): 8, (True, True): 4, (False, False): 16, (False, True): 64}
"""Rows a batch at most: on a CPU or not, with torch or not. docs/server.md has what a row costs in batches."""


def is_auto(options: dict[str, Any]) -> bool:
    return bool(options["max_connections_per_gpu"].strip().lower() == "auto")


def max_batch(options: dict[str, Any], *, on_cpu: bool) -> int:
    given: int | None = options["max_batch"]
    return given or _DEFAULT_BATCH[on_cpu, options["engine"] == "torch"]


def of_cluster(options: dict[str, Any]) -> int:
    """The slots of a worker's GPU. Its model may be on the workers' machines only."""
    from server.commands import model_option

    if options["engine"] == "simulated" or not is_auto(options):
        name = "simulated"
    elif options["model"] is None:
        name = model_option.find(None).name
    else:
        name = Path(options["model"]).expanduser().resolve().name if "/" in options["model"] else options["model"]
    return of_server(options, name, max_batch(options, on_cpu=options["devices"] == "cpu"))


def of_server(options: dict[str, Any], model: str, batch: int) -> int:
    """The slots of a GPU that runs `model` with at most `batch` rows a batch.

    Raises:
        UserError: it is no number, or --history was given without auto.
    """
    if is_auto(options):
        planned = planned_limit(options["history"], _identity(options, model, batch))
        narration().print(f"whisper-ops serve: {planned.origin}", soft_wrap=True, markup=False)
        return planned.max_connections_per_gpu
    if typed(click.get_current_context(), "history"):
        raise UserError("--history is read by --max-connections-per-gpu auto only; use auto, or leave it out")
    text = options["max_connections_per_gpu"]
    slots = whole(text, 100_000)
    if not slots:
        raise UserError(f"--max-connections-per-gpu takes a number from 1 to 100000, or auto, not {text!r}")
    return slots


def _identity(options: dict[str, Any], model: str, batch: int) -> Identity:
    simulated = options["engine"] == "simulated"
    return Identity(
        software=known_software.WHISPER_OPS,
        version=__version__,
        engine=options["engine"],
        model=model,
        max_batch=batch,
        compute_type=None if options["compute_type"] == "default" or simulated else options["compute_type"],
        simulated=simulated,
    )
