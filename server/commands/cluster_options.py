"""`serve --cluster`: the options of a fleet, and those that are passed on to its workers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from server.commands.listen_options import origins, own_port, own_token
from whisper_ops.addresses import shown
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.option_rules import Excludes, Needs, OptionRule, spelled, typed
from whisper_ops.console import narration
from whisper_ops.errors import UserError
from whisper_ops.plan.auto_limit import LAG_GUARD_SECONDS
from whisper_ops.scaling_rule import HEADROOM
from whisper_ops.units import Length, share

if TYPE_CHECKING:
    from server.broker.broker_settings import BrokerSettings
    from server.cluster.cluster_settings import ClusterSettings

F = TypeVar("F", bound=Callable[..., Any])

MOST_WORKERS = 1000
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_HOLD = "5min"

_OPTIONS = (
    click.option(
        "--cluster",
        metavar="local|HOST:PORT",
        help="Serve with workers that Ray places, one a GPU, behind a broker: on this machine, or on the cluster "
        "with its head at HOST:PORT.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(0, MOST_WORKERS),
        help="Number of workers; 0: end them all.  [default: one for each GPU of the cluster, else one]",
    ),
    click.option("--min-workers", type=click.IntRange(1, MOST_WORKERS), help="Fewest workers, however low the load."),
    click.option("--max-workers", type=click.IntRange(1, MOST_WORKERS), help="Most workers, however high the load."),
    click.option(
        "--headroom",
        default=f"{HEADROOM:.0%}",
        show_default=True,
        metavar="SHARE",
        help="Slots kept free beyond those in use, between --min-workers and --max-workers.",
    ),
    click.option(
        "--scale-down-after",
        type=Length(),
        default=_HOLD,
        show_default=True,
        help="Drain the emptiest worker when fewer were enough for so long.",
    ),
    click.option(
        "--worker-port",
        type=click.IntRange(0, 65535),
        default=8001,
        show_default=True,
        help="Each worker takes the first free port from here on; 0: any.",
    ),
)

_SCALES = ("min_workers", "max_workers")
RULES: tuple[OptionRule, ...] = (
    *(Needs(name, ("cluster",)) for name in ("workers", *_SCALES, "headroom", "scale_down_after", "worker_port")),
    Needs("headroom", _SCALES, "the number of workers is fixed"),
    Needs("scale_down_after", _SCALES, "the number of workers is fixed"),
    Excludes("cluster", ("lease",), "its workers are on a lease anyway"),
    Excludes("cluster", ("public_url",), "each worker is reached by its own machine's address"),
    Excludes("cluster", ("tls_cert", "tls_key"), "workers answer by their machines' addresses; encrypt in a proxy"),
)
"""Between the options of `serve`."""

_NOT_FOR_WORKERS = {
    "cluster", "workers", *_SCALES, "headroom", "scale_down_after", "worker_port", "host", "port", "token_file",
    "admin_token_file", "insecure", "history", "max_connections_per_gpu", "devices", "lag_objective",
}  # fmt: skip
"""Options of the fleet, and those that workers get in another form."""


def cluster_options(function: F) -> F:
    """How many workers, and where."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def checked_address(text: str) -> str:
    """Of Ray's head, as Ray takes it.

    Raises:
        UserError: it is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise UserError(
            f"{shown(text)!r} is neither local nor the address of Ray's head; give --cluster local, or HOST:PORT as "
            "`ray start --head` prints it, on a machine of that cluster"
        )
    return text


def without_ray(error: ModuleNotFoundError) -> UserError:
    """What to say where the extra is not installed."""
    return UserError(f"--cluster needs Ray ({error.name} is missing); install whisper-ops[server,ray] on every machine")


def serve(options: dict[str, Any], slots: int) -> None:
    """Serve with a cluster; `slots` of a GPU, as planned or as told."""
    settings = _settings(options, slots)
    try:
        from server.cluster.cluster_process import serve
    except ModuleNotFoundError as error:
        raise without_ray(error) from error
    serve(settings, lambda text: narration().print(f"whisper-ops serve: {text}", soft_wrap=True, markup=False))


def _settings(options: dict[str, Any], slots: int) -> "ClusterSettings":
    from server.cluster.cluster_settings import ClusterSettings

    local = options["cluster"] == "local"
    address = "local" if local else checked_address(options["cluster"])
    device = _device(options)
    least, most, workers = options["min_workers"], options["max_workers"], options["workers"]
    _check_numbers(workers, least, most, local=local)
    broker = _broker(options, local=local)
    gpus = int(device.partition(":")[2] or 1) if device.startswith("sim:") else 1
    return ClusterSettings(
        address=address,
        workers=workers,
        least=least,
        most=most,
        headroom=share(options["headroom"], "--headroom"),
        hold_seconds=options["scale_down_after"],
        arguments=_for_workers(options, slots),
        device=device,
        slots=slots * gpus,
        first_port=options["worker_port"],
        drain_seconds=options["drain_timeout"],
        insecure=options["insecure"],
        broker=broker,
    )


def _check_numbers(workers: int | None, least: int | None, most: int | None, *, local: bool) -> None:
    if workers == 0 and (local or least is not None or most is not None):
        raise UserError(
            "--workers 0 ends the workers of a cluster on other machines; "
            + ("--cluster local ends with this command" if local else "leave --min-workers and --max-workers out")
        )
    if least is not None and most is not None and least > most:
        raise UserError(f"--min-workers {least} is more than --max-workers {most}")
    if workers and ((least is not None and workers < least) or (most is not None and workers > most)):
        raise UserError(f"--workers {workers} lies outside of --min-workers and --max-workers; leave one of them out")


def _device(options: dict[str, Any]) -> str:
    """Of one worker."""
    text: str = options["devices"]
    simulated = options["engine"] == "simulated"
    if simulated and text == "auto":
        return "sim:1"
    if text == "auto" or (text == "cpu" and not simulated):
        return text
    if simulated:
        from server import devices

        return f"sim:{len(devices.parse(text, simulated=True))}"
    raise UserError(
        f"--devices {shown(text)} does not go with --cluster, where each worker has one GPU; give "
        "auto or cpu, and the number of --workers"
    )


def _broker(options: dict[str, Any], *, local: bool) -> "BrokerSettings":
    from server.broker.broker_settings import BrokerSettings

    token = own_token(options)
    if token is None and not local and not options["insecure"]:
        raise UserError(
            "the workers of a cluster can be reached from outside without a token; give --token-file, or "
            "--insecure if that is intended"
        )
    return BrokerSettings(
        members=(),
        host=options["host"],
        port=own_port(options["port"]),
        token=token,
        admin_token=read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN"),
        allow_origins=origins(options),
        log_json=options["log_json"],
    )


def _for_workers(options: dict[str, Any], slots: int) -> tuple[str, ...]:
    """What was typed, as it is typed; and the slots, which only this machine's history may know."""
    context = click.get_current_context()
    words = ["--max-connections-per-gpu", str(slots)]
    lag = options["lag_objective"] or (LAG_GUARD_SECONDS if options["max_connections_per_gpu"] == "auto" else 0.0)
    if lag:
        words += ["--lag-objective", f"{lag:g}s"]
    for name, value in options.items():
        if name in _NOT_FOR_WORKERS or not typed(context, name):
            continue
        option = spelled(context, name)
        if value is True:
            words.append(option)
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [option, _word(name, one)]
    return tuple(words)


def _word(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    path = Path(str(value)).expanduser()
    # A worker runs in another folder, so a path that means something here is told whole.
    is_here = name in ("model", "sample") and path.exists()
    return str(path.resolve()) if is_here else str(value)
