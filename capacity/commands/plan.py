"""`whisper-ops plan`: the answer that all the measuring was for."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whisper_ops import console
from whisper_ops.cli.option_rules import Excludes, Needs, OnlyOne, combinations, spelled, typed
from whisper_ops.cli.options import ca_option, history_option, json_option, token_option
from whisper_ops.cli.prometheus_options import NEED_IT, chosen_history, window_options
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.units import Length

if TYPE_CHECKING:
    from capacity.fleet.prices import Price
    from capacity.fleet.sizing import Demand
    from capacity.reports.output import Output
    from whisper_ops.plan.plan_document import Plan

_MEASURED = (
    "history", "prometheus", "server", "model", "gpu", "gpu_speed", "chunk", "objective", "price", "gpus_per_machine",
    "upstream", "listen", "details",
)  # fmt: skip
TARGETS = ("server", "systemd", "sysctl", "prometheus-rules", "nginx", "kubernetes", "keda", "cloudwatch")


@click.group(name="plan", invoke_without_command=True)
@history_option
@json_option
@click.option(
    "--prometheus",
    metavar="URL",
    help="Take what servers did from this Prometheus-compatible server, and only sweeps from the history.",
)
@window_options
@token_option
@ca_option
@click.option("--server", help="Plan for the server whose name holds this text; the last measured one without.")
@click.option("--model", help="What if: plan from levels of the model whose name holds this text.")
@click.option(
    "--gpu", help="What if: plan for the GPU whose name holds this text; one never measured gets what carries over."
)
@click.option(
    "--gpu-speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATIO",
    help="Speed of that GPU relative to the measured one, from a benchmark of the model; for one never measured.",
)
@click.option(
    "--chunk", type=Length(least_open=True), help="What if: plan from levels played in chunks of this length."
)
@click.option("--objective", metavar="CONDITION,…", help="What if: judge by another objective than was measured for.")
@click.option("--target", type=click.IntRange(min=1), metavar="CALLS", help="Size a fleet for so many calls at once.")
@click.option("--peak-arrivals", metavar="40/min", help="Size a fleet for this rate of new calls, with --mean-length.")
@click.option(
    "--mean-length",
    metavar="6min",
    help="How long a call lasts on average; with --emit kubernetes also how long a stopping pod keeps its calls.",
)
@click.option(
    "--blocking", default="0.1%", show_default=True, help="The share of calls that may be refused at the peak."
)
@click.option("--survive", type=click.IntRange(min=0), default=0, help="Machines that may be lost.", show_default=True)
@click.option("--gpus-per-machine", type=click.IntRange(min=1), help="Default: as many as the measured server has.")
@click.option(
    "--price", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="TOML with prices of GPUs."
)
@click.option("--details", is_flag=True, help="Print every resource, how tiers were cut, and what was left out, too.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write one HTML file with all laws."
)
@click.option("--emit", type=click.Choice(TARGETS), help="Print configuration with the plan's limits instead.")
@click.option("--upstream", multiple=True, metavar="HOST:PORT", help="A server behind nginx; repeatable.")
@click.option("--listen", metavar="HOST:PORT", help="With --emit nginx: where it listens.  [default: 127.0.0.1:8080]")
@click.option(
    "--host-profile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Plan a host that is described in a TOML or JSON file instead of a measured server; needs no history.",
)
@click.pass_context
@combinations(
    Excludes("host_profile", _MEASURED, "a host on paper has no measured server, and no history is read for it"),
    OnlyOne(("as_json", "markdown", "emit")),
    *(Excludes(form, ("details",), "it is complete without") for form in ("as_json", "markdown")),
    Excludes("emit", ("details",), "it prints configuration"),
    Needs("upstream", ("emit",)),
    *(Needs(option, ("prometheus",)) for option in NEED_IT),
    Needs("listen", ("emit",)),
    Needs("gpu_speed", ("gpu",)),
    Needs("blocking", ("peak_arrivals",)),
    Needs("gpus_per_machine", ("target", "peak_arrivals")),
)
def command(context: click.Context, /, **options: Any) -> int:  # noqa: ANN401  # click hands over the options by name
    """Say how many connections a GPU carries, why, and how sure that is.

    It reads the audited levels of `whisper-ops sweep`, and polls, from the history, never mixes what was measured under
    different conditions, and stores the plan there for `serve --max-connections-per-gpu auto`. Exit code 4: there is
    not enough evidence. Exit code 1: not one connection meets the objective.
    """
    if context.invoked_subcommand is not None:
        _refuse_before(context, options)
        return Exit.GOOD
    if options["host_profile"] is not None:
        return _plan_on_paper(options)
    if options["objective"] is not None:
        from whisper_ops.objective import parse

        parse(options["objective"])  # a mistake in it is said first, whatever else is missing
    with chosen_history(options) as history:
        _require(history)
        with console.busy(f"planning from {options['history']}"):
            plan = _make({**options, "history": history})
    if options["gpu_speed"] is not None and plan.transferred_from is None:
        raise UserError(f"--gpu-speed is for a GPU that was never measured, and {plan.key.gpu_name} was; leave it out")
    _show(plan, options, elsewhere=typed(context, "history"))
    if plan.transferred_from is not None:  # never measured, so nothing may start with its number
        return Exit.EVIDENCE if plan.max_connections_per_gpu is None else Exit.GOOD
    _store(options["history"], plan)
    return Exit.NO if plan.max_connections_per_gpu is None else Exit.GOOD


@command.command(name="diff")
@history_option
@json_option
@click.option("--server", help="Compare plans of the server whose name holds this text.")
@click.option(
    "--back",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many plans back.",
)
def diff(history: Path, *, as_json: bool, server: str | None, back: int) -> int:
    """Say what changed between the last plan and one before, and why."""
    from capacity.reports.output import form_of
    from capacity.reports.plan_diff import compare, output

    _require(history)
    with History.reading(history) as opened:
        plans = [
            plan for plan in opened.plans.every() if server is None or server.lower() in (plan.server or "").lower()
        ]
    mine = [plan for plan in plans if plan.server == plans[-1].server]
    if len(mine) <= back:
        raise UserError(
            f"{history} holds {len(mine)} plans of {mine[-1].server if mine else 'this server'}, and a comparison "
            f"needs {back + 1}; run `whisper-ops plan` after the next measurement",
            Exit.EVIDENCE,
        )
    output(compare(mine[-1 - back], mine[-1])).print(form_of(as_json=as_json))
    return Exit.GOOD


def _refuse_before(context: click.Context, options: dict[str, Any]) -> None:
    """An option of `plan` before the name of another command would be ignored."""
    wrong = next((name for name in options if typed(context, name)), None)
    if wrong is None:
        return
    option, name = spelled(context, wrong), context.invoked_subcommand
    there = any(parameter.name == wrong for parameter in command.commands[name or ""].params)
    way_out = f"write it behind: whisper-ops plan {name} {option}" if there else "leave it out"
    raise UserError(f"{option} stands before {name}, which would ignore it; {way_out}")


def _require(history: Path) -> None:
    if not history.exists():
        raise UserError(
            f"there is no history at {history}, so there is nothing to plan from; run `whisper-ops sweep URL` first",
            Exit.EVIDENCE,
        )


def _make(options: dict[str, Any]) -> "Plan":
    """The plan, with the fleet and the trend that follow from it."""
    import msgspec

    from capacity.fleet.growth import trend
    from capacity.fleet.plan_with_fleet import with_fleet
    from capacity.planner import EvidenceRequest, make_plan
    from whisper_ops.history.poll_aggregates import daily_peaks

    names = ("server", "model", "gpu", "gpu_speed", "objective")
    wanted = EvidenceRequest(**{name: options[name] for name in names}, chunk_seconds=options["chunk"])
    with History.reading(options["history"]) as opened:
        plan = make_plan(opened, wanted, time.time())
        peaks = sorted(daily_peaks(opened, plan.server).items())
    limit = plan.max_connections_per_gpu
    demand = _demand(options, plan.key.gpus)
    if demand is not None:
        plan = with_fleet(plan, demand, _price(options, plan.key.gpu_name))
    return msgspec.structs.replace(plan, trend=trend(peaks, float(limit * plan.key.gpus)) if limit else None)


def _demand(options: dict[str, Any], gpus: int) -> "Demand | None":
    from capacity.fleet.sizing import Demand
    from whisper_ops.units import length, rate, share

    arrivals, mean = options["peak_arrivals"], options["mean_length"]
    if options["emit"] == "kubernetes" and arrivals is None:
        mean = None  # of the pods' time to drain; it sizes nothing
    if (arrivals is None) != (mean is None):
        raise UserError("--peak-arrivals and --mean-length go together; give both, such as 40/min and 6min")
    if options["target"] is None and arrivals is None:
        if options["price"] is not None or options["survive"]:
            raise UserError("--price and --survive are about a fleet; say its size with --target CALLS")
        return None
    return Demand(
        target=options["target"],
        arrivals_per_second=None if arrivals is None else rate(arrivals, "--peak-arrivals"),
        mean_length_seconds=None if mean is None else length(mean, "--mean-length"),
        most_blocking=share(options["blocking"], "--blocking"),
        survive=options["survive"],
        gpus_per_machine=options["gpus_per_machine"] or gpus,
    )


def _price(options: dict[str, Any], gpu: str | None) -> "Price | None":
    from capacity.fleet.prices import read_price

    if options["price"] is None:
        return None
    price = read_price(options["price"], gpu)
    if options["gpus_per_machine"] not in (None, price.gpus_per_machine) and price.gpus_per_machine is not None:
        raise UserError(
            f"--gpus-per-machine says {options['gpus_per_machine']} and {options['price']} has machines of "
            f"{price.gpus_per_machine}; leave one of them out"
        )
    return price


def _show(plan: "Plan", options: dict[str, Any], *, elsewhere: bool) -> None:
    """The plan in the forms that were asked for."""
    from capacity.reports.config_files import emit
    from capacity.reports.plan_report import output
    from whisper_ops.units import length

    def configuration() -> str:
        mean = None if options["mean_length"] is None else length(options["mean_length"], "--mean-length")
        servers, listen = _proxy(options)
        return emit(plan, options["emit"], servers, mean, listen)

    history = options["history"] if elsewhere else None
    _hand_over(output(plan, details=options["details"], history=history, configuration=configuration), options)


def _hand_over(output: "Output", options: dict[str, Any]) -> None:
    from capacity.reports.output import form_of

    if options["html"] is not None:
        output.write_html(options["html"])
        console.narration().print(f"wrote {options['html']}", soft_wrap=True, markup=False)
    output.print(
        form_of(as_json=options["as_json"], as_markdown=options["markdown"], configuration=options["emit"] is not None)
    )


def _proxy(options: dict[str, Any]) -> tuple[list[str], str | None]:
    """Host and port of each server that was named, and of where nginx is to listen."""
    for name, what in (("upstream", "a server behind nginx"), ("listen", "where nginx listens")):
        if options[name] and options["emit"] != "nginx":
            raise UserError(f"--{name} names {what}, and --emit {options['emit']} has none; leave it out")
    servers = [_host_port("upstream", text) for text in options["upstream"]]
    return servers, _host_port("listen", options["listen"]) if options["listen"] is not None else None


def _host_port(option: str, text: str) -> str:
    from whisper_ops.addresses import parsed, shown

    try:
        parts = parsed(text if "://" in text else f"http://{text}", ("http",))
    except ValueError as error:
        raise UserError(f"--{option} {shown(text)!r} is no address ({error}); say HOST:PORT") from error
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UserError(f"--{option} {shown(text)!r} is more than an address; say HOST:PORT")
    return parts.netloc if parts.port else f"{parts.netloc}:80"


def _plan_on_paper(options: dict[str, Any]) -> int:
    """Plan the host in a file: what a call takes, what each resource allows, verdicts, loads, tiers and settings."""
    from capacity.fleet.sizing import calls_of
    from capacity.hosts.host_config import emit
    from capacity.hosts.paper_host import analyse
    from capacity.hosts.profile import read_profile
    from capacity.reports.host_report import output

    profile = read_profile(options["host_profile"])
    demand = _demand(options, 1)
    analysis = analyse(profile, None if demand is None else calls_of(demand), options["survive"])
    # Made first, so that a target it refuses ends the command before anything is written.
    configuration = "" if options["emit"] is None else emit(analysis, options["emit"])
    _hand_over(output(analysis, lambda: configuration), options)
    return Exit.NO if demand is not None and analysis.fleet is None else Exit.GOOD


def _store(path: Path, plan: "Plan") -> None:
    """Keep the plan; a history that may only be read still gets its answer."""
    from whisper_ops.plan.plan_records import record_of

    try:
        with History.writing(path) as history:
            history.plans.add(record_of(plan))
    except UserError as error:
        console.narration().print(f"whisper-ops: the plan was not stored: {error}", soft_wrap=True, markup=False)
