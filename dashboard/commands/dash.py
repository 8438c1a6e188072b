"""`whisper-ops dash`: the fleet in the terminal, live, once, as JSON, or as it was."""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click
import msgspec

from dashboard.commands.watch_options import watch_options
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import history_option, json_option
from whisper_ops.cli.prometheus_options import chosen_history, window_options
from whisper_ops.console import CAPTION_VARIABLE, data, escaped_json, print_json, say
from whisper_ops.errors import Exit, UserError
from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.units import Length

if TYPE_CHECKING:
    from dashboard.admin_client import Admin
    from dashboard.config import WatchConfig
    from dashboard.polling.poller import Pollers
    from dashboard.replay.feed import Feed
    from dashboard.tui.first_frame import FirstFrame
    from whisper_ops.snapshot import Snapshot


_PRINTING = ("once", "as_json", "watch")


class DashOptions(TypedDict):
    """What may be said besides the servers."""

    hosts: tuple[Path, ...]
    config: Path | None
    token_file: Path | None
    interval: float | None
    history: Path
    once: bool
    as_json: bool
    watch: float | None
    read_only: bool
    replay: str | None
    prometheus: str | None
    since: str
    step: str
    mappings: tuple[str, ...]
    theme: str | None
    admin_token_file: Path | None
    objective: str | None
    no_color: bool


@click.command()
@watch_options
@history_option
@click.option("--once", is_flag=True, help="Poll once, print a table and leave.")
@json_option
@click.option(
    "--watch",
    type=Length(0.2, 86_400),
    help="Print again each time so long has passed, until interrupted; with --json one line a time.",
)
@click.option("--read-only", is_flag=True, help="Write nothing to the history, and offer no action on a server.")
@click.option(
    "--replay",
    metavar="WHEN",
    help="Show the past instead: 'yesterday 14:00', 'tuesday 14:03', '1 h ago', '2026-11-20 14:00'. Needs no server.",
)
@click.option(
    "--prometheus",
    metavar="URL",
    help="With --replay: the past that this Prometheus-compatible server remembers; its token is WHISPER_OPS_TOKEN.",
)
@window_options
@click.option(
    "--objective",
    metavar="CONDITION,…",
    help="Colour lags by this instead of what each plan was measured for; such as 'lag_p95<=1s'.",
)
@click.option("--no-color", is_flag=True, help="Send no colour, as NO_COLOR in the environment does.")
@click.option("--theme", help="night, light, colour-blind or terminal; remembered for the next start.")
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For drain, undrain and limit; without it, WHISPER_OPS_ADMIN_TOKEN is read.",
)
@combinations(
    Excludes(
        "replay",
        ("servers", "hosts", "interval", "once", "as_json", "watch", "token_file", "ca_file", "admin_token_file"),
        "the past is in the history, and no server is asked for it",
    ),
    Needs("prometheus", ("replay",)),
    *(Needs(option, ("prometheus",)) for option in ("since", "step", "mappings")),
    Excludes("once", ("watch",), "one prints once, the other again and again"),
    *(
        Excludes(printing, ("theme", "admin_token_file", "objective"), "they are for the screen")
        for printing in _PRINTING
    ),
    Excludes("read_only", ("admin_token_file",), "it offers no action on a server"),
)
def command(servers: tuple[str, ...], **options: Unpack[DashOptions]) -> int:
    """Watch servers live in the terminal, and record what is seen.

    A server is an address like http://asr-1:8000; other kinds have a prefix, as `whisper-ops record --help` says. Polls
    go to the history, where charts, replay and the planner find them. `?` shows all keys, `q` leaves.

    Without a server those of the history are watched (of the last day in which any was polled), else this machine's
    GPUs and http://127.0.0.1:8000.

    With --once, --json or --watch nothing is recorded, and a server that could not be reached makes the exit code 3.
    """
    if options["no_color"]:
        os.environ["NO_COLOR"] = "1"
    lag_bound = _lag_bound(options["objective"])
    if options["replay"] is not None:
        _need_terminal("a replay")
        with chosen_history({**options}) as history:
            return _replay(options["replay"], {**options, "history": history})
    printing = options["once"] or options["as_json"] or options["watch"] is not None
    if lag_bound is not None:
        _need_terminal("--objective, which colours the screen,")
    if not printing and not _terminal():
        say("whisper-ops: this is no terminal, so the fleet is printed once (as --once does)")
        printing = True
    if printing:
        watch = _load(servers, options)
        if watch.default_reason is not None:
            say(f"whisper-ops: {watch.default_reason}")
        return asyncio.run(_print(watch, options["watch"], as_json=options["as_json"]))
    from dashboard.tui.first_frame import first_frame

    with first_frame(servers) as frame:
        return _live(_load(servers, options), options, frame)


def _load(servers: tuple[str, ...], options: DashOptions) -> "WatchConfig":
    from dashboard.config import load

    return load(
        servers,
        hosts=options["hosts"],
        config=options["config"],
        interval=options["interval"],
        token=read_token(options["token_file"]),
        history=options["history"],
    )


def _lag_bound(objective: str | None) -> float | None:
    """The lag that an objective allows, in seconds; None: none was given.

    Raises:
        UserError: it cannot be read, or says nothing about lag.
    """
    if objective is None:
        return None
    from whisper_ops.objective import parse

    most = parse(objective).most_lag
    if most is None:
        raise UserError(
            f"--objective {objective!r} bounds no lag, which is what a screen can judge; name lag_p95 or stable_p95"
        )
    return most


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _need_terminal(what: str) -> None:
    if not _terminal():
        raise UserError(f"{what} needs a terminal; the history itself can be exported and queried without one")


async def _print(watch: "WatchConfig", every: float | None, *, as_json: bool) -> int:
    """Poll and print, once or again and again."""
    fleet = watch.fleet()
    try:
        while True:
            snapshots = await fleet.once()
            _show(snapshots, as_json=as_json, lines=every is not None)
            _print_remarks(fleet, snapshots)
            if every is None:
                return _exit_code(snapshots)
            await asyncio.sleep(every)
    finally:
        await fleet.close()


def _show(snapshots: "list[Snapshot]", *, as_json: bool, lines: bool) -> None:
    from dashboard.fleet_state import FleetState
    from dashboard.tui.pages.once_table import members_table, table

    if as_json and lines:
        document = msgspec.json.encode({"schema": "whisper-ops/dash/1", "servers": snapshots}).decode()
        click.echo(escaped_json(document))
    elif as_json:
        print_json("dash", {"servers": snapshots})
    else:
        state = FleetState()
        for snapshot in snapshots:
            state.take(snapshot)
        world = state.world(max((snapshot.at for snapshot in snapshots), default=time.time()))
        data().print(table(world))
        members = members_table(world)
        if members is not None:
            data().print("", members)


def _print_remarks(fleet: "Pollers", snapshots: "list[Snapshot]") -> None:
    """On stderr: GPUs without readings and why, and what in an answer could not be; a remark once."""
    from dashboard.tui.pages.fleet_rows import unreadable_gpus

    for snapshot in snapshots:
        for sentence in unreadable_gpus(snapshot if snapshot.state == "live" else None):
            say(f"{snapshot.server}: {sentence}")
    for poller in fleet.pollers.values():
        for sentence in poller.source.remarks.take_new():
            say(sentence)


def _exit_code(snapshots: "list[Snapshot]") -> int:
    from dashboard.tui.pages.once_table import failures

    sentence = failures(snapshots)
    if sentence is not None:
        raise UserError(sentence, Exit.UNREACHABLE)
    return Exit.GOOD


def _live(watch: "WatchConfig", options: DashOptions, frame: "FirstFrame") -> int:
    from dashboard.admin_client import Admin
    from dashboard.alerts import load_rules
    from dashboard.history.history_writer import HistoryWriter
    from dashboard.replay.feed import LiveFeed

    history = options["history"]
    writer = (
        None if options["read_only"] else HistoryWriter(history, command="whisper-ops dash", retention=watch.retention)
    )
    changeable = [server for server in watch.servers if server.kind == WHISPER_OPS and not server.replicas]
    urls = {server.label: server.url for server in changeable}
    try:
        tokens = {server.label: token for server in changeable if (token := server.token(watch.token))}
        admin_token = read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN")
        admin = Admin(urls, admin_token, tokens=tokens)
        live = LiveFeed(watch.fleet(), writer, history, load_rules(watch.alerts), clock=time.monotonic)
        live.fleet_state.objective_override_seconds = _lag_bound(options["objective"])
        admin_here = None if options["read_only"] else admin
        code = _run(live, options, admin_here, frame=frame, opening=watch.default_reason)
        if writer is not None and writer.failure is not None:
            raise UserError(writer.failure, Exit.NO)
        return code
    finally:
        if writer is not None:
            writer.close()


def _replay(when: str, options: DashOptions) -> int:
    from dashboard import time_input
    from dashboard.alerts import load_rules
    from dashboard.config import alert_rules
    from dashboard.replay.replay_feed import ReplayFeed

    rules = load_rules(alert_rules(options["config"]))
    replay = ReplayFeed(options["history"], time_input.parse(when, time.time()), rules=rules)
    replay.objective_override_seconds = _lag_bound(options["objective"])
    return _run(replay, options, None)


def _run(
    feed: "Feed",
    options: DashOptions,
    admin: "Admin | None",
    *,
    frame: "FirstFrame | None" = None,
    opening: str | None = None,
) -> int:
    """Show the screens until they are left. `opening` is told in their footer."""
    # How long a lone escape may still become the beginning of an arrow key: textual's 100 ms is felt at each `esc`.
    # It is read when textual is first imported.
    os.environ.setdefault("ESCDELAY", "25")
    from dashboard.tui import saved_state
    from dashboard.tui.app import DashApp

    path = saved_state.default_path()
    state = msgspec.structs.replace(saved_state.load(path), **_chosen_theme(options["theme"]))
    # At each turn of the loop a key press may wait this long for the thread that writes the history.
    sys.setswitchinterval(0.0005)
    history = options["history"]
    app = DashApp(feed, state=state, history=history, admin=admin, caption=_caption(), opening=opening)
    # Modules and styles live as long as we do: looked through by the collector they cost a pause of 25 ms now and then.
    gc.freeze()
    if frame is not None:
        frame.hand_over()
    try:
        app.run()
    finally:
        feed.close()
        for sentence in app.faults:
            say(f"whisper-ops: {sentence}")
    if app.left is not None:
        saved_state.save(path, app.left)
    return app.return_code or Exit.GOOD


def _chosen_theme(theme: str | None) -> dict[str, str]:
    """What `--theme` changes in the saved state: nothing without it."""
    from dashboard.tui.widgets.themes import NAMES

    if theme is not None and theme not in NAMES:
        raise UserError(f"there is no theme {theme!r}; there is {', '.join(NAMES)}")
    return {"theme": theme} if theme else {}


def _caption() -> Callable[[], str]:
    """The caption that the program which started us writes; none without one."""
    from dashboard.tui.caption import Caption

    file = os.environ.get(CAPTION_VARIABLE)
    return Caption(Path(file)) if file else str
