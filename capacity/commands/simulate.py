"""`whisper-ops simulate`: a fleet through its days."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whisper_ops import console
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import history_option, json_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import Length

if TYPE_CHECKING:
    from capacity.fleet.prices import Price
    from capacity.fleet.simulation.scenario import Region, Scenario
    from capacity.fleet.simulation.simulation_result import Latency
    from whisper_ops.plan.plan_document import Plan

_MOST_CALLS = 50_000_000
_MOST_REGIONS = 50


@click.command("simulate")
@click.option(
    "--peak-streams", type=click.IntRange(1, 10_000_000), metavar="N", help="Live calls on average in the busiest hour."
)
@click.option("--peak-arrivals", metavar="40/min", help="New calls in the busiest hour instead.")
@click.option("--mean-length", type=Length(1.0), default="6min", show_default=True, help="How long a call lasts.")
@click.option(
    "--lengths",
    type=click.Choice(["exponential", "steady", "lognormal"]),
    default="exponential",
    show_default=True,
    help="How lengths vary.",
)
@click.option(
    "--day",
    default="office",
    show_default=True,
    metavar="flat|office|24 NUMBERS",
    help="Traffic hour by hour, from midnight on: comma-separated, of any unit.",
)
@click.option("--days", type=click.IntRange(1, 60), default=1, show_default=True, help="How many days are played.")
@click.option("--slots", type=click.IntRange(1, 100_000), help="Calls a GPU.  [default: the plan's in --history]")
@history_option
@click.option("--server", help="The plan of the server whose name holds this text; the newest without.")
@click.option("--gpus-per-machine", type=click.IntRange(1, 1024), help="Default: as many as the planned server has.")
@click.option("--machines", type=click.IntRange(1, 100_000), help="A fleet that is never scaled.")
@click.option(
    "--min-machines", type=click.IntRange(1, 100_000), default=1, show_default=True, help="At least, of each region."
)
@click.option(
    "--max-machines",
    type=click.IntRange(1, 100_000),
    default=100_000,
    show_default=True,
    help="At most, of each region.",
)
@click.option(
    "--headroom", default="10%", show_default=True, metavar="SHARE", help="Slots kept ready beyond those in use."
)
@click.option("--scale-every", type=Length(1.0), default="60s", show_default=True, help="How often the scaler looks.")
@click.option("--machine-delay", type=Length(), default="3min", show_default=True, help="Until a new machine is up.")
@click.option(
    "--cold-start",
    type=Length(),
    default="2min",
    show_default=True,
    help="Then until its model takes calls.",
)
@click.option(
    "--lose-every", type=Length(60.0), metavar="TIME", help="How long a machine runs on average before it is lost."
)
@click.option(
    "--balancer",
    type=click.Choice(["least_loaded", "random", "blind", "pack"]),
    default="least_loaded",
    show_default=True,
    help="random: any with room; blind: any, without a second try; pack: the fullest with room.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="NAME:SHARE:HOURS",
    help="Part of the traffic, and how far its clock is ahead.",
)
@click.option(
    "--price", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="TOML with prices of GPUs."
)
@click.option("--gpu", metavar="NAME", help="Whose price.  [default: the planned GPU's]")
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="The same seed, the same calls."
)
@json_option
@combinations(
    Excludes(
        "machines",
        ("min_machines", "max_machines", "headroom", "scale_every"),
        "nothing is scaled then",
    ),
    Excludes("slots", ("server",), "it is whose plan says the calls a GPU"),
    Excludes("peak_streams", ("peak_arrivals",), "both say how much traffic there is"),
    Needs("gpu", ("price",)),
)
def command(**options: Any) -> int:  # noqa: ANN401  # click hands over the options above by name
    """Send a day's calls through a fleet: GPUs hour by hour, refusals, latency, cost.

    Calls arrive at random; a scaler follows them, machines take a while to come and are lost now and then. With
    --day flat, --machines and no losses it is what Erlang's formula says; all else is why it is there.
    """
    from capacity.fleet.simulation.simulation_result import answer
    from capacity.fleet.simulation.simulator import simulate
    from capacity.reports.output import form_of
    from capacity.reports.simulation_report import output

    plan = None if options["slots"] is not None else _plan(options)
    scenario = _scenario(options, plan)
    _check_size(scenario)
    price = _price(options, plan)
    total, done = 24 * scenario.days * len(scenario.regions), 0

    def on_hour() -> None:
        nonlocal done
        done += 1
        if done % 24 == 0 and total > 24:
            console.narration().print(f"whisper-ops simulate: {done} of {total} hours", soft_wrap=True)

    found = answer(scenario, simulate(scenario, on_hour), price, None if plan is None else _latency(plan))
    output(scenario, found, plan).print(form_of(as_json=options["as_json"]))
    return Exit.GOOD


def _plan(options: dict[str, Any]) -> "Plan":
    """The newest plan, which says how many calls a GPU carries."""
    from whisper_ops.history import History
    from whisper_ops.plan.plan_records import read

    history, server = options["history"], options["server"]
    records = []
    if history.exists():
        with History.reading(history) as opened:
            records = [
                one for one in opened.plans.every() if server is None or server.lower() in (one.server or "").lower()
            ]
    if not records:
        raise UserError(
            f"there is no plan in {history} that says how many calls a GPU carries; "
            "say --slots N, or run `whisper-ops sweep` and `whisper-ops plan` first",
            Exit.EVIDENCE,
        )
    return read(max(records, key=lambda record: record.created_at))


def _scenario(options: dict[str, Any], plan: "Plan | None") -> "Scenario":
    from capacity.fleet.simulation.scenario import Region, Scenario
    from whisper_ops.units import rate, share

    mean = options["mean_length"]
    if options["peak_streams"] is None and options["peak_arrivals"] is None:
        raise UserError("say how much traffic there is: --peak-streams 500, or --peak-arrivals 40/min")
    streams = options["peak_streams"]
    if streams is None:
        streams = rate(options["peak_arrivals"], "--peak-arrivals") * mean
    slots = options["slots"] or (plan.max_connections_per_gpu if plan is not None else None)
    if slots is None:
        raise UserError("the plan allows not one connection, so no fleet carries the calls", Exit.NO)
    return Scenario(
        peak_streams=float(streams),
        mean_length_seconds=mean,
        lengths=options["lengths"],
        day=_day(options["day"]),
        days=options["days"],
        slots_per_gpu=slots,
        gpus_per_machine=options["gpus_per_machine"] or (plan.key.gpus_a_server if plan is not None else 1),
        machines=options["machines"],
        min_machines=options["min_machines"],
        max_machines=max(options["min_machines"], options["max_machines"]),
        headroom=share(options["headroom"], "--headroom"),
        scale_every_seconds=options["scale_every"],
        start_seconds=options["machine_delay"] + options["cold_start"],
        lose_every_seconds=options["lose_every"],
        balancer=options["balancer"],
        regions=tuple(map(_region, options["regions"])) or (Region(),),
        seed=options["seed"],
    )


def _day(text: str) -> tuple[float, ...]:
    from capacity.fleet.simulation.scenario import DAYS, day_of
    from whisper_ops.units import number

    if text in DAYS:
        return DAYS[text]
    numbers = [number(part.strip(), 1e12) for part in text.split(",")]
    try:
        return day_of([float("nan") if one is None else one for one in numbers])
    except ValueError as error:
        raise UserError(
            f"--day takes flat, office, or 24 comma-separated numbers, not {text[:60]!r}: {error}"
        ) from error


def _region(text: str) -> "Region":
    from capacity.fleet.simulation.scenario import Region
    from whisper_ops.units import number, share
    from whisper_ops.untrusted_text import name as shown

    name, _, rest = text.partition(":")
    part, _, hours = rest.partition(":")
    ahead = number(hours.lstrip("+-") or "0", 24)
    if not name or not part or ahead is None:
        raise UserError(f"--region takes NAME:SHARE:HOURS such as us:40%:-6, not {text[:60]!r}")
    whole = 1.0 if part.strip() in ("1", "100%") else share(part, "--region")
    return Region(name=shown(name), share=whole, ahead_hours=-ahead if hours.startswith("-") else ahead)


def _check_size(scenario: "Scenario") -> None:
    if len(scenario.regions) > _MOST_REGIONS:
        raise UserError(f"{len(scenario.regions)} regions are named; at most {_MOST_REGIONS} are simulated")
    shares = sum(region.share for region in scenario.regions)
    if abs(shares - 1) > 0.005:
        raise UserError(f"the shares of the regions add up to {shares * 100:.3g} %; they must be 100 %")
    calls = scenario.peak_streams / scenario.mean_length_seconds * sum(scenario.day) * 3600 * scenario.days
    if calls > _MOST_CALLS:
        raise UserError(
            f"this would be {calls:,.0f} calls, and {_MOST_CALLS:,} take about an hour; take fewer --days or streams"
        )


def _price(options: dict[str, Any], plan: "Plan | None") -> "Price | None":
    from capacity.fleet.prices import read_price

    if options["price"] is None:
        return None
    return read_price(options["price"], options["gpu"] or (plan.key.gpu_name if plan is not None else None))


def _latency(plan: "Plan") -> "Latency | None":
    from whisper_ops.plan.resource_kinds import LATENCY

    resource = next((one for one in plan.resources if one.kind == LATENCY), None)
    return None if resource is None else resource.expected
