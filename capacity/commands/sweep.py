"""`whisper-ops sweep`: how many streams a server carries, measured."""

import asyncio
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from capacity.commands.clip_progress import ClipProgress
from whisper_ops import console
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.option_rules import Excludes, Needs, combinations, typed
from whisper_ops.cli.options import DEFAULT_HISTORY, ca_option, history_option, json_option, token_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.units import Length, whole

if TYPE_CHECKING:
    from rich.console import Console

    from capacity.loadtest.runner import Sweep, SweepOutcome
    from capacity.loadtest.strategies import Strategy

_MOST_STREAMS = 100_000
_COMPLAINTS = 5
"""So many files that cannot be used are named; a large corpus may have thousands."""
_LEVELS = "5,10,20,30,50,80,100,150,200"


class _SweepGroup(click.Group):
    """`sweep URL` is what people type; `sweep compare A B` is the exception."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the default command before anything that is no command."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_SweepGroup)
def command() -> None:
    """Measure a server with speaking clients; see `sweep run` and `sweep compare`."""


@command.command()
@click.argument("url")
@click.option(
    "--levels",
    default=_LEVELS,
    show_default=True,
    help="Numbers of streams, comma-separated; of the default ones those within the server's slots.",
)
@click.option("--search", is_flag=True, help="Look for the largest load within the objective instead.")
@click.option(
    "--within",
    type=Length(least_open=True),
    help="With --search: as tight a bracket as so much time allows, from short levels.",
)
@click.option("--soak", type=Length(least_open=True), help="Hold the one level of --levels for so long: 90s, 30m, 8h.")
@click.option(
    "--duration",
    type=Length(least_open=True),
    default="60s",
    show_default=True,
    help="How long a level holds all its streams.",
)
@click.option("--objective", default=DEFAULT, show_default=True, help="What a load must meet to count as carried.")
@click.option("--protocol", default="native", show_default=True, help="native, whisperlive or whisperlivekit.")
@click.option("--connect", "two_step", is_flag=True, help="Ask /connect first and go where it says (native only).")
@click.option(
    "--arrivals",
    type=click.Choice(["spread", "burst", "poisson"]),
    default="spread",
    show_default=True,
    help="How the streams of a level connect.",
)
@click.option("--duty-cycle", default=1.0, show_default=True, help="Share of the time in which each stream speaks.")
@click.option(
    "--chunk",
    type=Length(0.01, 5, bare="ms"),
    default="100ms",
    show_default=True,
    help="Sound in a message; a bare number is in milliseconds.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100, min_open=True),
    default=15.0,
    show_default=True,
    help="With --search: width of the bracket, per cent.",
)
@click.option(
    "--max-levels",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="With --search: measure no more than this.",
)
@click.option(
    "--max-streams", type=click.IntRange(1), default=10_000, show_default=True, help="With --search: go no higher."
)
@click.option("--processes", type=click.IntRange(1), help="Generator processes; by default as many as it takes.")
@click.option(
    "--warm-up/--no-warm-up", default=True, help="Begin with speech that is not measured, until its text is in time."
)
@click.option(
    "--max-other-load",
    type=click.FloatRange(0, 100),
    default=20.0,
    show_default=True,
    envvar="WHISPER_OPS_MAX_OTHER_LOAD",
    help="Per cent of the server's machine that other programs may take; a level with more is no evidence.",
)
@click.option(
    "--watch",
    multiple=True,
    metavar="NAME=PID|CGROUP|CONTAINER|URL",
    help="Sample CPU, memory and GPU use of a replica or balancer; a container is podman:NAME or docker:NAME;"
    " repeatable.",
)
@click.option(
    "--metrics",
    metavar="[KIND+]URL",
    help="A page that says how the server is, where it does not do so itself: WhisperLive's --metrics_port.",
)
@click.option(
    "--corpus",
    "corpus_folder",
    type=click.Path(path_type=Path),
    help="Speech to play; by default `corpus make`'s, made where it is missing.",
)
@click.option(
    "--style",
    type=click.Choice(["sentences", "passages"]),
    default="sentences",
    show_default=True,
    help="Without --corpus: which of `corpus make`'s speech; passages are read almost without a pause.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with pictures.")
@click.option("--transcripts", type=click.Path(path_type=Path, file_okay=False), help="Write what each stream got.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write what --json prints, too.")
@click.option("--fresh", is_flag=True, help="Do not go on with an interrupted sweep of the same command.")
@history_option
@json_option
@token_option
@ca_option
@combinations(
    Excludes("search", ("levels",), "a search chooses its levels itself"),
    Excludes("corpus_folder", ("style",), "it is speech of its own"),
    *(Needs(option, ("search",)) for option in ("tolerance", "max_levels", "max_streams", "within")),
    Excludes("within", ("max_levels",), "it takes as many levels as there is time for"),
)
def run(
    url: str,
    history: Path,
    html: Path | None,
    transcripts: Path | None,
    output: Path | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401  # click's options
) -> int:
    """Measure the server at URL with speaking clients, level by level.

    Each stream plays real speech in real time. What counts is when each word was shown, whether every word came, and
    whether the test itself kept its pace; every level is stored in the history as soon as it ended. Ctrl-C keeps what
    is done, and the same command goes on from there. Exit code 1: every level missed the objective. Exit code 4: no
    level is evidence; the table says why.

    `whisper-ops sweep compare A B` compares two sweeps and exits 1 when B is worse.
    """
    from capacity.corpus import clips
    from capacity.loadtest.output_checks import check_lengths
    from capacity.loadtest.runner import Sweep
    from capacity.loadtest.target import speech_for
    from capacity.reports.sweep_progress import SweepProgress
    from whisper_ops.history import History

    files = _Files(html, transcripts, output)
    files.check()
    strategy, options = _strategy(given, usual=not typed(click.get_current_context(), "levels"))
    shape = _shape(given, keep_text=as_json or transcripts is not None or output is not None)
    objective = parse(given["objective"])
    target = _target(url, given)
    folder = given["corpus_folder"]
    if folder is None:
        with ClipProgress(_first_time(given["style"])) as progress:
            folder = asyncio.run(speech_for(target, progress.show, given["style"]))
    speech = clips.load(folder)
    narration = console.narration()
    held = given["soak"] or 0.0
    for line in (*_left_out(speech.unreadable), check_lengths(speech, max(shape.seconds, held) + shape.settle_seconds)):
        if line is not None:
            _say(narration, line)
    with History.writing(history) as store, SweepProgress(narration, given["objective"]) as narrator:
        sweep = Sweep(store, target, speech, shape, objective, narrator, options)
        outcome = asyncio.run(_until_interrupted(sweep, strategy))
    for complaint in filter(None, (watch.complaint for watch in options.watch)):
        _say(narration, complaint)
    unwritten = files.write(outcome)
    code = _print_results(outcome, history, as_json=as_json)
    _say_what_is_next(outcome, target.address or target.name, history)
    if unwritten is not None:
        raise unwritten
    return code


@command.command()
@click.argument("a", type=int)
@click.argument("b", type=int)
@click.option(
    "--worse-by",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Per cent by which a figure must be worse to count.",
)
@history_option
@json_option
def compare(a: int, b: int, worse_by: float, history: Path, as_json: bool) -> int:
    """Compare sweep B with sweep A, level by level; exit 1 when B is worse.

    A and B are the ids that `sweep --json` prints. Sweeps of other speech, chunks or cadence of partial results are not
    comparable, and that is said instead of a verdict (exit 4).
    """
    from capacity.loadtest.compare import compare as compare_sweeps
    from capacity.reports.compare_table import output
    from capacity.reports.output import form_of
    from whisper_ops.history import History

    with History.reading(history) as store:
        compared = compare_sweeps(store, a, b, worse_by / 100)
    output(compared).print(form_of(as_json=as_json))
    return Exit.NO if compared.worse else Exit.GOOD


def _strategy(given: dict[str, Any], *, usual: bool) -> tuple["Strategy", Any]:
    from capacity.loadtest.process_watch import parse_watches
    from capacity.loadtest.runner import SweepOptions
    from capacity.loadtest.search import SearchLimits
    from capacity.loadtest.strategies import LevelList, SearchStrategy, Soak

    strategy: Strategy
    levels = _numbers(given["levels"])
    if given["search"] and given["soak"]:
        raise UserError("--search and --soak exclude each other; search first, then soak at the level found")
    if given["search"] and given["within"]:
        strategy, line = _within(given), f"search within {given['within']:g}s"
    elif given["search"]:
        limits = SearchLimits(
            tolerance=given["tolerance"] / 100, levels=given["max_levels"], most_streams=given["max_streams"]
        )
        strategy, line = SearchStrategy(limits), f"search {limits}"
    elif given["soak"]:
        if len(levels) != 1:
            raise UserError(f"--soak holds one level; give it as --levels N, not {given['levels']}")
        strategy, line = Soak(levels[0], given["soak"]), f"soak {levels[0]} for {given['soak']:g}s"
    else:
        strategy, line = LevelList(levels, usual=usual), f"levels {levels}"
    watch = parse_watches(given["watch"], read_token(given["token_file"]))
    options = SweepOptions(
        processes=given["processes"], fresh=given["fresh"] or bool(given["soak"]), plan_line=line, watch=watch
    )
    return strategy, options


def _within(given: dict[str, Any]) -> "Strategy":
    from capacity.loadtest.timed_search import QuickSearch, TimedSearch

    search = QuickSearch(tolerance=given["tolerance"] / 100, most_streams=given["max_streams"])
    return TimedSearch(given["within"], given["duration"], search)


def _shape(given: dict[str, Any], *, keep_text: bool) -> Any:  # noqa: ANN401  # a LoadShape, whose module is not loaded yet
    from capacity.loadtest.level import LoadShape

    if not 0 < given["duty_cycle"] <= 1:
        raise UserError(f"--duty-cycle {given['duty_cycle']:g} must lie above 0 and be 1 at most")
    # In a given time nothing is waited for as long as it takes.
    hurried = {} if given["within"] is None else {"drain_seconds": 8.0, "cool_seconds": 10.0}
    return LoadShape(
        **hurried,
        seconds=given["duration"],
        chunk_seconds=given["chunk"],
        duty_cycle=given["duty_cycle"],
        arrivals=given["arrivals"],
        warm_up_seconds=LoadShape().warm_up_seconds if given["warm_up"] else 0.0,
        keep_text=keep_text,
        most_other_load=given["max_other_load"] / 100,
    )


def _target(url: str, given: dict[str, Any]) -> Any:  # noqa: ANN401  # a Target, whose module is not loaded yet
    from capacity.loadtest.target import parse_target

    if given["two_step"] and given["protocol"] != "native":
        raise UserError(f"--connect belongs to the native protocol, not to {given['protocol']}")
    token = read_token(given["token_file"])
    return parse_target(url, given["protocol"], two_step=given["two_step"], token=token, metrics=given["metrics"])


async def _until_interrupted(sweep: "Sweep", strategy: "Strategy") -> "SweepOutcome":
    """Ctrl-C, a polite kill and a closed terminal end the sweep with what it has; a second Ctrl-C ends it at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(sweep.run(strategy))
    names = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup, which means to go on
        names.append(signal.SIGHUP)
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def stop(name: signal.Signals) -> None:
        if name == signal.SIGHUP:
            _speak_to_nobody(terminals)
        task.cancel()
        for handled in names:
            loop.remove_signal_handler(handled)

    for name in names:
        loop.add_signal_handler(name, stop, name)
    return await task


def _speak_to_nobody(terminals: list[int]) -> None:
    """The terminal is gone: printing to it would fail before the report is written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in terminals:
        os.dup2(nowhere, fd)
    os.close(nowhere)


def _first_time(style: Any) -> str:  # noqa: ANN401  # a Style, whose module is not loaded yet
    from capacity.corpus.maker import style_folder

    return f"the speech to play is made once, in some 20 s, and kept in {style_folder(style)}"


def _left_out(complaints: Sequence[str]) -> list[str]:
    lines = [f"left out: {complaint}" for complaint in complaints[:_COMPLAINTS]]
    more = len(complaints) - len(lines)
    return [*lines, f"left out: {more} more; `whisper-ops corpus show` names them"] if more else lines


class _Files(NamedTuple):
    """Files to write, besides what is printed; None: not this one."""

    html: Path | None
    transcripts: Path | None
    output: Path | None

    def check(self) -> None:
        """Raises UserError when one cannot be written: better now than after the hours of measuring."""
        from capacity.loadtest.output_checks import check_file, check_transcripts

        if self.html is not None:
            check_file("the report", self.html)
        if self.output is not None:
            check_file("the results", self.output)
        if self.transcripts is not None:
            check_transcripts(self.transcripts)

    def write(self, outcome: "SweepOutcome") -> UserError | None:
        """Write them; the error of those that could not be written, to be raised once the results are printed."""
        from capacity.reports.sweep_report import output
        from capacity.reports.transcript_files import write_transcripts

        results = output(outcome)
        texts = outcome.transcripts
        failed = []
        for written, path, write in (
            (f"report: {self.html}", self.html, results.write_html),
            (f"transcripts: {counted(len(texts), 'file')} in {self.transcripts}", self.transcripts,
             partial(write_transcripts, texts)),
            (f"results: {self.output}", self.output, results.write_json),
        ):  # fmt: skip
            try:
                if path is not None:
                    write(path)
                    _say(console.narration(), written)
            except UserError as error:
                failed.append(str(error))
        return UserError("; ".join(failed)) if failed else None


def _print_results(outcome: "SweepOutcome", history: Path, *, as_json: bool) -> int:
    try:
        return _report(outcome, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot print the results: {error.strerror or error}; they are kept as sweep {outcome.sweep_id} "
            f"in the history {history}"
        ) from error


def _report(outcome: "SweepOutcome", *, as_json: bool) -> int:
    from capacity.reports.output import form_of
    from capacity.reports.sweep_report import output

    output(outcome).print(form_of(as_json=as_json))
    if outcome.reason:
        _say(console.narration(), f"the sweep ended early: {outcome.reason}")
    return _exit_code(outcome)


def _say_what_is_next(outcome: "SweepOutcome", server: str, history: Path) -> None:
    """Where it was saved, and the next command to type."""
    from capacity.loadtest.conclusion import next_step
    from capacity.loadtest.resume import settings

    there = settings(outcome.sweep)
    slots = None if there is None else there.slots
    gpus = outcome.sweep.gpus or 1
    _say(console.narration(), f"saved: sweep {outcome.sweep_id} in {history}")
    following = next_step(outcome.levels, server, slots, history, DEFAULT_HISTORY, gpus=gpus)
    if following is not None and outcome.state == "done":
        _say(console.narration(), f"next:  {following}")


def _say(where: "Console", sentence: str) -> None:
    """A terminal breaks lines between words, and a pipe gets them whole."""
    where.print(sentence, soft_wrap=not where.is_terminal)


def _exit_code(outcome: "SweepOutcome") -> int:
    if outcome.state == "interrupted":
        return Exit.INTERRUPTED
    if outcome.state == "failed":
        return Exit.UNREACHABLE if outcome.unreachable else Exit.NO
    answers = {level.passed for level in outcome.levels}
    return Exit.GOOD if True in answers else Exit.NO if False in answers else Exit.EVIDENCE


def _numbers(levels: str) -> list[int]:
    numbers = [whole(part, _MOST_STREAMS) for part in levels.split(",")]
    if not all(numbers):
        raise UserError(f"--levels {levels!r} must be numbers of streams from 1 to {_MOST_STREAMS:,}, such as 5,10,20")
    return [number for number in numbers if number]
