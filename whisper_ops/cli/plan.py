"""`whisper-ops plan`: the answer that all the measuring was for."""

import time
from pathlib import Path

import click
import msgspec

from whisper_ops import console
from whisper_ops.cli.options import history_option, json_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, PlanRecord


@click.command()
@history_option
@json_option
@click.option(
    "--host-profile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Plan a host that is described in a TOML or JSON file instead of a measured server; needs no history.",
)
@click.option("--server", help="Plan for the server whose name holds this text; the last measured one without.")
@click.option("--model", help="Plan from levels of the model whose name holds this text.")
@click.option("--gpu", help="Plan from levels of the GPU whose name holds this text.")
@click.option("--objective", metavar="COLUMN<=NUMBER,…", help="Judge by another objective than it was measured for.")
@click.option("--chunk", type=float, metavar="SECONDS", help="Plan from levels played in chunks of this length.")
def command(
    history: Path,
    *,
    as_json: bool,
    host_profile: Path | None,
    server: str | None,
    model: str | None,
    gpu: str | None,
    objective: str | None,
    chunk: float | None,
) -> int:
    """Say how many connections a GPU carries, why, and how sure that is.

    It reads the audited levels of `whisper-ops sweep` from the history, never mixing what was measured under different
    conditions, and stores the plan there, for `serve --max-connections-per-gpu auto`. Exit code 4: there is not enough
    evidence. Exit code 1: not one connection meets the objective.
    """
    from capacity.plan import Wanted, make_plan, record_of
    from capacity.plan.terminal import show

    if host_profile is not None:
        return _plan_on_paper(host_profile, as_json=as_json)
    if not history.exists():
        raise UserError(
            f"there is no history at {history}, so there is nothing to plan from; run `whisper-ops sweep URL` first",
            Exit.EVIDENCE,
        )
    wanted = Wanted(server=server, model=model, gpu=gpu, chunk_seconds=chunk, objective=objective)
    with History.reading(history) as opened:
        plan = make_plan(opened, wanted, time.time())
    if as_json:
        console.print_json("plan", msgspec.to_builtins(plan))
    else:
        show(plan, console.data())
    _store(history, record_of(plan))
    return Exit.NO if plan.max_connections_per_gpu is None else Exit.GOOD


def _plan_on_paper(file: Path, *, as_json: bool) -> int:
    """Plan the host in a file: what each resource allows, what binds first, tiers and the lines that raise it."""
    from capacity.hosts.limits import document
    from capacity.hosts.profile import host_of, read_profile
    from capacity.hosts.terminal import show

    host = host_of(read_profile(file))
    if as_json:
        console.print_json("plan", document(host))
    else:
        show(host, console.data())
    return Exit.GOOD


def _store(path: Path, plan: PlanRecord) -> None:
    """Keep the plan; a history that may only be read still gets its answer."""
    try:
        with History.writing(path) as history:
            history.add_plan(plan)
    except UserError as error:
        console.narration().print(f"whisper-ops: the plan was not stored: {error}", soft_wrap=True, markup=False)
