"""A Prometheus in place of recorded polls: its options, and a temporary history of what it holds."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from whisper_ops import console
from whisper_ops.identity import Identity

if TYPE_CHECKING:
    from whisper_ops.history import History
    from whisper_ops.snapshot import Snapshot

F = TypeVar("F", bound=Callable[..., Any])

_BATCH = 2000
NEED_IT = ("since", "step", "mappings", "token_file", "ca_file")
"""Options that mean something only with --prometheus."""
_OPTIONS = (
    click.option("--from", "since", default="7d", show_default=True, metavar="7d", help="How far back to read."),
    click.option("--step", default="60s", show_default=True, metavar="60s", help="Step between two points in time."),
    click.option(
        "--mapping",
        "mappings",
        multiple=True,
        metavar="KIND|FILE",
        help="The exporter: a kind such as whisper-ops, whisperlive, vllm, dcgm or node, or a mapping file of your "
        "own (docs/monitoring.md); repeatable.",
    ),
)


def window_options(function: F) -> F:
    """`--from`, `--step` and `--mapping`: which moments are read, and what exported them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def polls(options: dict[str, Any], identity: Identity) -> "Iterable[Snapshot]":
    """The polls that the Prometheus of `--prometheus` holds, oldest first; `identity` overrides what it says."""
    from whisper_ops.bearer_tokens import read_token
    from whisper_ops.exporters.catalogue import mapping_of
    from whisper_ops.exporters.prometheus_client import QueryWindow
    from whisper_ops.exporters.prometheus_polls import snapshots
    from whisper_ops.units import length

    now = time.time()
    window = QueryWindow(now - length(options["since"], "--from"), now, length(options["step"], "--step"))
    chosen = [mapping_of(named) for named in options["mappings"] or ("whisper-ops",)]
    return snapshots(options["prometheus"], chosen, window, identity, read_token(options["token_file"]))


def store(history: "History", found: "Iterable[Snapshot]") -> int:
    """Write polls in batches, so that memory is bounded; returns how many there were."""
    count, batch = 0, []
    for snapshot in found:
        batch.append(snapshot)
        count += 1
        if len(batch) == _BATCH:
            history.polls.add(batch)
            batch = []
    history.polls.add(batch)
    return count


@contextmanager
def chosen_history(options: dict[str, Any]) -> Iterator[Path]:
    """The history; with `--prometheus` a temporary one with its sweeps and plans, and Prometheus' polls."""
    history: Path = options["history"]
    if options["prometheus"] is None:
        yield history
        return
    from whisper_ops.history import History
    from whisper_ops.history.copy_measurements import copy_measured

    with tempfile.TemporaryDirectory(prefix="whisper-ops-") as folder:
        path = Path(folder) / "history.db"
        with console.busy(f"reading {options['prometheus']}"), History.writing(path) as made:
            if history.exists():
                copy_measured(history, made)
            store(made, polls(options, Identity()))
        yield path
