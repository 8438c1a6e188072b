"""`whisper-ops sweep`: how many streams a server carries, measured."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whisper_ops import console
from whisper_ops.cli.options import history_option, json_option, token_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.secrets import read_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from capacity.sweep.run import Outcome, Sweep

_LEVELS = "5,10,20,30,50,80,100,150,200"
_OBJECTIVE = "stable_p95<=2s, first_p95<=1s, connected>=99.9%, errors<=0.1%, wer<=+1.5"


@click.command()
@click.argument("url")
@click.option("--levels", default=_LEVELS, show_default=True, help="Numbers of streams, comma-separated.")
@click.option("--duration", default=60.0, show_default=True, help="Seconds for which a level holds all its streams.")
@click.option("--objective", default=_OBJECTIVE, show_default=True, help="What a load must meet to count as carried.")
@click.option("--corpus", "corpus_folder", type=click.Path(path_type=Path), help="Speech to play; see `corpus`.")
@history_option
@json_option
@token_option
def command(
    url: str,
    levels: str,
    duration: float,
    objective: str,
    corpus_folder: Path | None,
    history: Path,
    as_json: bool,
    token_file: Path | None,
) -> int:
    """Measure the server at URL with speaking clients, level by level.

    Each stream plays real speech in real time. What counts is when each word was shown, whether every word came, and
    whether the test itself kept its pace; every level is stored in the history as soon as it ended.
    """
    from capacity.speech import corpus
    from capacity.sweep.level import LoadShape
    from capacity.sweep.narrate import Narrator
    from capacity.sweep.objective import parse
    from capacity.sweep.run import Sweep
    from capacity.sweep.target import parse_target
    from whisper_ops.history import History

    numbers = _numbers(levels)
    if duration <= 0:
        raise UserError(f"--duration {duration:g} must be above 0 seconds")
    wanted = parse(objective)
    target = parse_target(url, token=read_token(token_file))
    speech = corpus.load(corpus_folder or corpus.default_folder())
    narration = console.narration()
    for complaint in speech.unreadable:
        narration.print(f"left out: {complaint}", soft_wrap=True)
    with History.writing(history) as store, Narrator(narration) as narrator:
        sweep = Sweep(store, target, speech, LoadShape(seconds=duration), wanted, narrator)
        outcome = asyncio.run(_until_interrupted(sweep, numbers))
    return _report(outcome, as_json=as_json)


async def _until_interrupted(sweep: "Sweep", numbers: "Sequence[int]") -> "Outcome":
    """Ctrl-C and a polite kill end the sweep with what it has; a second Ctrl-C ends it at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(sweep.run(numbers))

    def stop() -> None:
        task.cancel()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    return await task


def _report(outcome: "Outcome", *, as_json: bool) -> int:
    from capacity.sweep.tables import json_body, level_table

    if as_json:
        console.print_json("sweep", json_body(outcome))
    else:
        console.data().print(level_table(outcome.levels))
    if outcome.reason:
        console.narration().print(f"the sweep ended early: {outcome.reason}", soft_wrap=True)
    return _exit_code(outcome)


def _exit_code(outcome: "Outcome") -> int:
    if outcome.state == "interrupted":
        return Exit.INTERRUPTED
    if outcome.state == "failed":
        return Exit.UNREACHABLE if outcome.gone else Exit.NO
    return Exit.GOOD if any(level.passed for level in outcome.levels) else Exit.NO


def _numbers(levels: str) -> list[int]:
    try:
        numbers = [int(part) for part in levels.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UserError(f"--levels {levels!r} must be numbers of streams, such as 5,10,20")
    return numbers
