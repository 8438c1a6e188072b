"""`whisper-ops history`: inspect and repair the history file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whisper_ops.cli.options import history_option, json_option
from whisper_ops.console import data, print_json, say
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted, size

if TYPE_CHECKING:
    from whisper_ops.history.inventory import HistoryInfo


@click.group()
def command() -> None:
    """Inspect, check, repair or shrink the history file."""


@command.command()
@history_option
@json_option
def info(history: Path, as_json: bool) -> int:
    """Show what the history holds: rows, time range, servers, and which process writes it."""
    import msgspec

    from whisper_ops.history import History
    from whisper_ops.history.inventory import info as look

    with History.reading(history) as opened:
        found = look(opened)
    if as_json:
        print_json("history", msgspec.to_builtins(found))
    else:
        _print(found)
    return Exit.GOOD


@command.command()
@history_option
def check(history: Path) -> int:
    """Check the file for damage; exit code 1 if there is some. Takes a while on a large file."""
    from whisper_ops.history.opening import open_for_reading
    from whisper_ops.history.repair import problems

    if history.exists() and not (found := problems(history)):
        open_for_reading(history).close()
        say(f"{history} is sound")
        return Exit.GOOD
    if not history.exists():
        open_for_reading(history)
    for problem in found:
        data().out(problem, highlight=False)
    say(f"{history} is damaged; `whisper-ops history repair` saves what can be read")
    return Exit.NO


@command.command()
@history_option
@click.option("--force", is_flag=True, help="Make a new file even if no damage is found.")
def repair(history: Path, force: bool) -> int:
    """Move a damaged history aside, and copy every readable row into a new one. Nothing is deleted."""
    from whisper_ops.history.repair import is_sqlite, problems
    from whisper_ops.history.repair import repair as mend
    from whisper_ops.history.writer_lock import WriterLock

    if not history.exists():
        raise UserError(f"there is no history at {history}")
    if not force and not is_sqlite(history):
        raise UserError(f"{history} is no SQLite file; --force moves it aside and makes an empty history")
    if not force and not problems(history):
        say(f"{history} is sound; nothing was done")
        return Exit.GOOD
    lock = WriterLock(history, "whisper-ops history repair")
    holder = lock.try_acquire()
    if holder is not None:
        raise UserError(f"{history} is written by {holder}; stop that one first")
    try:
        say(f"{history}: {mend(history)}")
    finally:
        lock.release()
    return Exit.GOOD


@command.command()
@history_option
def vacuum(history: Path) -> int:
    """Return the space of deleted rows to the disk. Needs as much free space as the history holds."""
    from whisper_ops.history.opening import give_space_back

    if not history.exists():
        raise UserError(f"there is no history at {history}")
    before = history.stat().st_size
    give_space_back(history)
    say(f"{history}: {size(before)} before, {size(history.stat().st_size)} now")
    return Exit.GOOD


def _print(found: "HistoryInfo") -> None:
    from rich.table import Table

    out = data()
    out.print(f"{found.path}: {size(found.file_bytes)}, {size(found.used_bytes)} of it in use")
    out.print(f"written by {found.writer}" if found.writer else "written by nobody now")
    tiers = Table("tier", "rows", "from", "to", "deleted before", box=None)
    for tier in found.tiers:
        words = (_when(tier.first_at), _when(tier.last_at), _when(tier.deleted_before))
        tiers.add_row(tier.tier, f"{tier.rows:,}", *words)
    out.print(tiers)
    servers = Table("server", "first seen", "last seen", box=None)
    for server in found.servers:
        servers.add_row(server.name, _when(server.first_seen_at), _when(server.last_seen_at))
    out.print(servers)
    out.print(
        f"{counted(found.sweeps, 'sweep')} of {counted(found.levels, 'level')}, {counted(found.plans, 'plan')}, "
        f"{counted(found.events, 'event')}, {counted(found.alerts, 'alert')} ({found.alerts_open} open), "
        f"{counted(found.rollups_due, 'minute or hour', 'minutes and hours')} to roll up"
    )
    if found.table_bytes:
        largest = list(found.table_bytes.items())[:6]
        out.print("largest: " + ", ".join(f"{name} {size(used)}" for name, used in largest))


def _when(at: float | None) -> str:
    return "—" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
