"""`whisper-ops dash`: the fleet in the terminal, live, once, or as JSON."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from whisper_ops.cli.options import history_option, json_option, token_option
from whisper_ops.console import data, print_json
from whisper_ops.errors import Exit, UserError
from whisper_ops.secrets import read_token

if TYPE_CHECKING:
    from dashboard.poller import Fleet
    from whisper_ops.snapshot import Snapshot


class Options(TypedDict):
    """What may be said besides the servers."""

    history: Path
    token_file: Path | None
    interval: float
    once: bool
    as_json: bool
    read_only: bool
    replay: str | None
    theme: str | None


@click.command()
@click.argument("urls", nargs=-1, metavar="URL...")
@history_option
@token_option
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds per poll.")
@click.option("--once", is_flag=True, help="Poll once, print a table and leave.")
@json_option
@click.option("--read-only", is_flag=True, help="Write nothing to the history, and offer no action on a server.")
@click.option(
    "--replay",
    metavar="WHEN",
    help="Show the past instead: 'yesterday 14:00', 'tuesday 14:03', '1 h ago', '2026-11-20 14:00'. Needs no URL.",
)
@click.option("--theme", help="night, light, colour-blind or terminal.")
def command(urls: tuple[str, ...], **options: Unpack[Options]) -> int:
    """Watch servers live in the terminal, and record what is seen.

    Each URL is polled every second. Polls go to the history, where charts, replay and the planner find them. `?` shows
    all keys, `q` leaves. With --once or --json nothing is recorded, and a server that could not be reached makes the
    exit code 3.
    """
    if options["replay"] is not None and not urls:
        return _replay(options["replay"], options)
    if not urls:
        raise UserError("name at least one server, as in whisper-ops dash http://localhost:8000")
    token = read_token(options["token_file"])
    if options["once"] or options["as_json"]:
        return _once(urls, token, as_json=options["as_json"])
    return _live(urls, token, options)


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


def _live(urls: tuple[str, ...], token: str | None, options: Options) -> int:
    from dashboard.app import DashApp
    from dashboard.feeds import Live
    from dashboard.writer import HistoryWriter

    history = options["history"]
    writer = None if options["read_only"] else HistoryWriter(history)
    try:
        live = Live(_fleet(urls, token, options["interval"]), writer, options["interval"], history)
        app = DashApp(live, theme=options["theme"], history=history)
        app.run()
        live.close()
        return app.return_code or Exit.GOOD
    finally:
        if writer is not None:
            writer.close()


def _replay(when: str, options: Options) -> int:
    from dashboard.app import DashApp
    from dashboard.replay import Replay
    from dashboard.view import moments

    past = Replay(options["history"], moments.parse(when, time.time()))
    try:
        app = DashApp(past, theme=options["theme"], history=options["history"])
        app.run()
        return app.return_code or Exit.GOOD
    finally:
        past.close()
