"""The command `whisper-ops`: a table of commands, each loaded when it is called.

`COMMANDS` is the one list: help, the generated docs and the completeness tests read it. A command lives in its room, in
a module with a click command named `command`; that module imports the rest of its room inside the function, so that
`whisper-ops --help` is instant and a planner's laptop needs no model runtime.
"""

import gc
import importlib
import io
import os
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

import click

from whisper_ops import __version__
from whisper_ops.cli.option_checks import make_strict
from whisper_ops.cli.standard_streams import ReaderGone, standard_streams
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import narrated


class Entry(NamedTuple):
    """Where a command is, and its one line of help."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "serve": Entry("server.commands.serve", "Serve streaming speech-to-text on this machine's GPUs or CPU."),
    "broker": Entry(
        "server.commands.broker",
        "Balance clients over several servers, and show them as one.",
    ),
    "dash": Entry("dashboard.commands.dash", "Watch servers live in the terminal, and record them."),
    "record": Entry("dashboard.commands.record", "Record servers into the history without a screen, as a service."),
    "corpus": Entry("capacity.commands.corpus", "Make or show the speech that a load test plays."),
    "sweep": Entry("capacity.commands.sweep", "Load-test a server with real speech, level by level."),
    "check": Entry(
        "capacity.commands.check",
        "Verify a live server: GPU spread, memory, set-up, refusal.",
    ),
    "fit": Entry("capacity.commands.fit", "Fit a scaling law to any table of load levels."),
    "plan": Entry("capacity.commands.plan", "How many connections a GPU carries, why, and how sure that is."),
    "simulate": Entry(
        "capacity.commands.simulate", "Send a day's calls through a fleet: GPUs, refusals, latency, cost."
    ),
    "doctor": Entry("capacity.commands.doctor", "Check this host's limits, and say how to raise each."),
    "history": Entry("whisper_ops.cli.history", "Inspect, check, repair or shrink the history file."),
    "import": Entry("capacity.commands.import_", "Import measurements into the history: CSV files, Prometheus."),
    "export": Entry("whisper_ops.cli.export", "Print the history's rows as CSV or JSON lines."),
    "demo": Entry(
        "capacity.commands.demo",
        "Three-minute tour: a simulated fleet, then real speech, planned.",
    ),
}
"""By name, in the order in which a new user meets them."""


OTHER_NAMES = {
    "replay": "dash --replay 'yesterday 14:00'",
    "watch": "dash URL",
    "top": "dash URL",
    "monitor": "dash URL",
    "load-test": "sweep URL",
    "loadtest": "sweep URL",
    "benchmark": "sweep URL",
    "bench": "sweep URL",
    "capacity": "plan",
    "start": "serve",
    "run": "serve",
    "server": "serve",
    "help": "--help",
    "version": "--version",
}
"""Commands of other programs that people try first, and what does the same here."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command)
        make_strict(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and a word that is no command gets the nearest that is one."""
        if args and args[0] not in COMMANDS:
            import difflib

            if args[0] in OTHER_NAMES:
                ctx.fail(f"No such command {args[0]!r}. What it would do is `whisper-ops {OTHER_NAMES[args[0]]}`.")
            matches = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if matches:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {matches[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="whisper-ops")
def main() -> None:
    """Operate streaming Whisper on GPUs: see the fleet, measure it, and plan its capacity.

    Results go to stdout, messages to stderr. Exit codes: 0 good, 1 the answer is no, 2 wrong usage, 3 a server could
    not be reached, 4 not enough evidence, 130 interrupted.
    """


_GC_THRESHOLD = 20_000
"""New objects between two looks for garbage, where Python's own 700 make a tenth of a short command's time."""
_LONG_RUNNING = {"serve", "broker"}
"""Commands that run for days keep Python's own: after 5,000 handshakes `serve` had grown by 71 MB, with it by 34."""


def run(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: a user's mistake is one sentence on stderr, never a traceback."""
    try:
        with standard_streams():
            if not _LONG_RUNNING.intersection((arguments if arguments is not None else sys.argv[1:])[:1]):
                gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
            result = main.main(args=arguments, prog_name="whisper-ops", standalone_mode=False)
    except UserError as error:
        _say(f"whisper-ops: {error}")
        sys.exit(error.code)
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)  # it repeats what it was given, which may be a file's name that a shell put there
        _say(message.getvalue().rstrip("\n") + _value_help(error, sys.argv[1:] if arguments is None else arguments))
        sys.exit(Exit.USAGE)
    except PermissionError as error:
        # Any file or folder may be another user's, as after a run under sudo: that is a mistake like others.
        if not isinstance(error.filename, str | bytes):
            raise
        path = os.fsdecode(error.filename)
        _say(f"whisper-ops: cannot use {path}: permission denied; run this as its owner, or change its rights")
        sys.exit(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        _say("whisper-ops: interrupted")
        sys.exit(Exit.INTERRUPTED)
    except (BrokenPipeError, ReaderGone):
        # The reader of our output went away, as `| head` does: not an error, but nothing more can be said.
        sys.exit(Exit.GOOD)
    finally:
        # What is left goes with the process; the interpreter would look through all of it several times.
        gc.freeze()
    sys.exit(result if isinstance(result, int) else Exit.GOOD)


def _value_help(error: click.ClickException, arguments: list[str]) -> str:
    """What an option takes that was typed without its value; click's own message does not say."""
    if not isinstance(error, click.BadOptionUsage):
        return ""
    command: click.Command = main
    context = click.Context(command)
    for word in arguments:
        inner = command.get_command(context, word) if isinstance(command, click.Group) else None
        command = inner or command
    named = (param for param in command.params if isinstance(param, click.Option) and error.option_name in param.opts)
    option = next(named, None)
    return (
        ""
        if option is None or option.is_flag
        else f" It is {error.option_name} {option.make_metavar(context)}: {option.help}"
    )


def _say(sentence: str) -> None:
    with suppress(OSError):  # the exit code still tells
        click.echo(narrated(sentence), err=True)
