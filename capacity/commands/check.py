"""`whisper-ops check`: an operator's verification list as one command."""

import asyncio
from pathlib import Path

import click

from whisper_ops import console
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.options import ca_option, json_option, token_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.units import Length


@click.command()
@click.argument("url")
@click.option("--through", metavar="URL", help="The same server behind its balancer, to compare connect times.")
@click.option("--hold", type=Length(), help="Hold a connection so long (90s, 6m) and see when a proxy cuts it.")
@click.option("--yes", is_flag=True, help="Do not ask before filling a server that has live users.")
@json_option
@token_option
@ca_option
def command(
    url: str, through: str | None, hold: float | None, yes: bool, as_json: bool, token_file: Path | None
) -> int:
    """Fill the server at URL to its last slot, empty it, and say what is right and what is not.

    Connections spread over GPUs, memory, set-up and accept times, health states, the refusal when full, and whether
    slots and memory come back. New users are refused while it is full: it asks first when there are any.
    """
    from capacity.checklist.check_results import body, table, verdict
    from capacity.checklist.checklist import Checker, CheckRequest, failed, look
    from capacity.checklist.server_state import reported_state
    from capacity.loadtest.target import parse_target

    token = read_token(token_file)
    target = parse_target(url, token=token)
    request = CheckRequest(through=parse_target(through, token=token) if through else None, hold_seconds=hold or 0.0)
    figures, first = asyncio.run(look(target))
    if figures.slots_used and not yes and reported_state(first).refusal_reason is None:
        _ask(target.name, figures.slots_used)
    narration = console.narration()
    findings = asyncio.run(Checker(target, request, lambda line: narration.print(line, soft_wrap=True)).run())
    if as_json:
        console.print_json("check", body(target.name, findings))
    else:
        width = console.table_width(console.data())
        console.data().print(table(findings, width), width=width)
        console.data().print(f"\n{verdict(findings)}", width=width)
    return Exit.NO if failed(findings) else Exit.GOOD


def _ask(server: str, users: int) -> None:
    import sys

    question = f"{server} has {counted(users, 'live stream')}; new streams are refused while `check` fills it"
    if not sys.stdin.isatty():
        raise UserError(f"{question}; use --yes to run it anyway")
    click.confirm(f"{question}. Continue?", abort=True, err=True)
