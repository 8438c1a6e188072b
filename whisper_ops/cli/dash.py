"""`whisper-ops dash`: the fleet in the terminal, live, once, or as JSON."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whisper_ops.cli.options import history_option, json_option, token_option
from whisper_ops.console import data, print_json
from whisper_ops.errors import Exit, UserError
from whisper_ops.secrets import read_token

if TYPE_CHECKING:
    from dashboard.poller import Fleet
    from whisper_ops.snapshot import Snapshot


@click.command()
@click.argument("urls", nargs=-1, metavar="URL...")
@history_option
@token_option
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds per poll.")
@click.option("--once", is_flag=True, help="Poll once, print a table and leave.")
@json_option
@click.option("--read-only", is_flag=True, help="Write nothing to the history, and offer no action on a server.")
@click.option("--theme", help="night, light, colour-blind or terminal.")
def command(
    urls: tuple[str, ...],
    history: Path,
    token_file: Path | None,
    interval: float,
    once: bool,
    as_json: bool,
    read_only: bool,
    theme: str | None,
) -> int:
    """Watch servers live in the terminal, and record what is seen.

    Each URL is polled every second. Polls go to the history, where charts, replay and the planner find them. `?` shows
    all keys, `q` leaves. With --once or --json nothing is recorded, and a server that could not be reached makes the
    exit code 3.
    """
    if not urls:
        raise UserError("name at least one server, as in whisper-ops dash http://localhost:8000")
    token = read_token(token_file)
    if once or as_json:
        return _once(urls, token, as_json=as_json)
    return _live(urls, token, history=history, record=not read_only, interval=interval, theme=theme)


def _fleet(urls: tuple[str, ...], token: str | None, interval: float = 1.0) -> "Fleet":
    from dashboard.poller import Fleet
    from dashboard.sources.whisper_ops import WhisperOpsSource

    return Fleet([WhisperOpsSource(url, token=token) for url in urls], interval=interval)


def _once(urls: tuple[str, ...], token: str | None, *, as_json: bool) -> int:
    from dashboard.view.once import failures, table
    from dashboard.view.world import Board

    snapshots = asyncio.run(_poll_once(urls, token))
    if as_json:
        print_json("dash", {"servers": snapshots})
    else:
        board = Board()
        for snapshot in snapshots:
            board.feed(snapshot)
        data().print(table(board.world(max(snapshot.at for snapshot in snapshots))))
    sentence = failures(snapshots)
    if sentence is not None:
        raise UserError(sentence, Exit.UNREACHABLE)
    return Exit.GOOD


async def _poll_once(urls: tuple[str, ...], token: str | None) -> "list[Snapshot]":
    fleet = _fleet(urls, token)
    try:
        return await fleet.once()
    finally:
        await fleet.close()


def _live(
    urls: tuple[str, ...], token: str | None, *, history: Path, record: bool, interval: float, theme: str | None
) -> int:
    from dashboard.app import DashApp
    from dashboard.feeds import Live
    from dashboard.writer import HistoryWriter

    writer = HistoryWriter(history) if record else None
    try:
        app = DashApp(Live(_fleet(urls, token, interval), writer, interval, history), theme=theme)
        app.run()
        return app.return_code or Exit.GOOD
    finally:
        if writer is not None:
            writer.close()
