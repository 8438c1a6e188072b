"""`whisper-ops import`: history from CSV files and from Prometheus."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whisper_ops import console
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import MARKS, ca_option, decimal_option, history_option, token_option
from whisper_ops.cli.prometheus_options import NEED_IT, polls, store, window_options
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.history import History, SweepRecord
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from capacity.tables.cells import Mark


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@history_option
@click.option(
    "--map", "entries", multiple=True, metavar="FIGURE=COLUMN[:UNIT]", help="Where a figure is found; repeat."
)
@click.option("--levels", is_flag=True, help="The rows are load levels, not moments; --map level.streams=COLUMN …")
@click.option("--objective", help="For levels: what must hold, as for a sweep. Default: stable_p95<=2s.")
@click.option("--server", default="imported", show_default=True, help="The name the server gets in the history.")
@click.option("--by", metavar="COLUMN", help="A column that tells servers apart.")
@click.option("--prometheus", metavar="URL", help="A Prometheus-compatible server to read instead of a file.")
@window_options
@click.option("--software", help="What the server is, for the key of its laws.")
@click.option("--software-version", help="Its version.")
@click.option("--model", help="The model it serves.")
@click.option("--gpu", help="The GPU it serves on.")
@decimal_option
@token_option
@ca_option
@combinations(
    Excludes("prometheus", ("entries", "levels", "objective", "by", "decimal", "server"), "it is about a file"),
    *(Needs(option, ("prometheus",)) for option in NEED_IT),
    Needs("objective", ("levels",)),
    Excludes("levels", ("by",), "the levels of a file are of one server"),
)
def command(file: Path | None, **options: Any) -> int:  # noqa: ANN401  # click hands over the options by name
    """Read measurements that something else made into the history, so that `plan` can use them.

    FILE is a CSV file with one row a moment, such as `--map at=ts --map server.streams_active=active --map
    server.lag_p95_seconds=p95_ms:ms`; with --levels, one row a load level. Times without a zone are UTC.
    """
    if (file is None) == (options["prometheus"] is None):
        raise UserError("name either a CSV file or --prometheus URL to import from")
    identity = Identity(
        software=options["software"],
        version=options["software_version"],
        model=options["model"],
        gpu_name=options["gpu"],
    )
    if file is not None and options["levels"]:
        return _import_levels(file, options, identity)
    # A file is read to its end before anything is written, so that a bad line leaves the history as it was.
    found = polls(options, identity) if file is None else list(_from_file(file, options, identity))
    with History.writing(options["history"]) as opened:
        count = store(opened, found)
    if count == 0:
        raise UserError(f"{file or options['prometheus']} held no moment to import", Exit.EVIDENCE)
    console.narration().print(f"imported {count:,} moments into {options['history']}", soft_wrap=True, markup=False)
    return Exit.GOOD


def _from_file(file: Path, options: dict[str, Any], identity: Identity) -> "Iterable[Snapshot]":
    from capacity.importers.csv_polls import snapshots
    from capacity.importers.figure_names import known_figures, parse_map
    from capacity.tables.text_rows import read

    sources = parse_map(options["entries"], {"at", *known_figures()}, "the history")
    return snapshots(read(file, _decimal(options)), sources, options["server"], identity, options["by"])


def _decimal(options: dict[str, Any]) -> "Mark | None":
    return None if options["decimal"] is None else MARKS[options["decimal"]]


def _import_levels(file: Path, options: dict[str, Any], identity: Identity) -> int:
    import msgspec

    from capacity.importers.csv_levels import levels, parse_level_map
    from capacity.tables.text_rows import read
    from whisper_ops.objective import parse

    objective = parse(options["objective"] or "stable_p95<=2s").canonical
    found = levels(read(file, _decimal(options)), parse_level_map(options["entries"]), objective, time.time())
    sweep = SweepRecord(
        **msgspec.structs.asdict(identity),
        server=options["server"],
        started_at=time.time(),
        state="done",
        reason=f"imported from {file.name}",
        chunk_seconds=0.0,
        corpus=f"imported {file.name}",
        objective=objective,
    )
    with History.writing(options["history"]) as opened:
        sweep_id = opened.sweeps.start(sweep)
        for level in found:
            opened.sweeps.add_level(msgspec.structs.replace(level, sweep_id=sweep_id))
    console.narration().print(
        f"imported {counted(len(found), 'level')} into {options['history']}", soft_wrap=True, markup=False
    )
    return Exit.GOOD
