"""`whisper-ops serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands import cluster_options, slot_limit
from server.commands.listen_options import certificate, origins, own_port, own_token, serving_options
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import DEFAULT_HISTORY
from whisper_ops.console import narration
from whisper_ops.errors import UserError
from whisper_ops.plan.auto_limit import LAG_GUARD_SECONDS
from whisper_ops.units import Length, number

if TYPE_CHECKING:
    from server.settings import Settings

_LAW_KEYS = {
    "a": "a_seconds",
    "b": "b_seconds",
    "base": "memory_base_bytes",
    "slope": "memory_slope_bytes",
    "memory": "memory_total_bytes",
    "load": "load_seconds",
    "host": "host_seconds",
    "fault": "fault_every",
    "hang": "hang_after",
}


@click.command("serve")
@click.option(
    "--model",
    metavar="NAME|FOLDER",
    help="A model's name or folder; default: tiny.en of [speech]. random:NAME with torch: random weights, for timing.",
)
@click.option(
    "--devices", default="auto", show_default=True, help="auto, cpu, cpu,cpu, cuda:0,cuda:1; simulated: sim:8."
)
@click.option(
    "--engine",
    type=click.Choice(["ctranslate2", "torch", "simulated"]),
    default="ctranslate2",
    show_default=True,
    help="What decodes. torch: many streams on a GPU; simulated: nothing is decoded, batches only take time.",
)
@click.option("--sim-law", metavar="a=S,b=S,…", help="Simulated: T(B) = a + b·B seconds; base, slope, memory in bytes.")
@click.option(
    "--compute-type", default="default", show_default=True, help="int8, float16, …; default: what suits the device."
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 256),
    help="Rows a batch at most; default: 8 on a CPU, 16 on a GPU; with torch 4 and 64.",
)
@click.option(
    "--min-context",
    type=click.FloatRange(0, 30),
    default=0.0,
    help="Least audio context of a window in seconds, for models that mishear short ones; 0: 4 s.",
)
@serving_options
@click.option(
    "--max-connections-per-gpu",
    metavar="N|auto",
    default="16",
    show_default=True,
    help="Slots of a GPU; auto: the limit planned in --history, else a safe few, with the lag guard.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_HISTORY,
    envvar="WHISPER_OPS_HISTORY",
    show_default=True,
    help="The history whose plan auto reads.",
)
@click.option(
    "--placement",
    type=click.Choice(["least_loaded", "round_robin"]),
    default="least_loaded",
    show_default=True,
    help="Which GPU a stream gets; ties go to the one with most free memory.",
)
@click.option(
    "--when-full",
    type=click.Choice(["close", "503"]),
    default="close",
    show_default=True,
    help="How a stream is refused: with a message and close 1013, or with HTTP 503 before the upgrade.",
)
@click.option("--public-url", metavar="TEMPLATE", help="What /connect returns: wss://{pod_id}-{port}.example/ws.")
@click.option("--reconnect-url", metavar="URL", help="Where clients are sent while this server drains: wss://HOST/ws.")
@click.option(
    "--lag-objective", type=Length(), default=0.0, help="Refuse new streams while p95 lag is above this; 0: never."
)
@click.option(
    "--connections-per-address",
    type=click.IntRange(0),
    default=0,
    help="Most streams from one client address; 0: no limit.",
)
@click.option(
    "--idle-timeout",
    type=Length(),
    default="120s",
    show_default=True,
    help="End a native client that sends nothing for so long; 0: never.",
)
@click.option(
    "--max-idle",
    type=Length(),
    default="1h",
    show_default=True,
    help="The same for protocols without a keep-alive, and the most that ?idle= may ask for.",
)
@click.option("--max-session", type=Length(), default=0.0, help="The longest session; 0: no limit.")
@click.option(
    "--drain-timeout",
    type=Length(),
    default="30s",
    show_default=True,
    help="Graceful drain: streams have so long to end after SIGTERM.",
)
@click.option(
    "--sample",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Audio file that the page at / can play; default: [speech]'s voice reads three sentences.",
)
@click.option(
    "--lease",
    type=Length(),
    default=0.0,
    help="Take streams only while a supervisor calls PUT /admin/lease at least this often; 0: always.",
)
@click.option(
    "--orphan-timeout",
    type=Length(),
    default="1h",
    show_default=True,
    help="How long the server waits for its last streams after its lease expired, before it drains.",
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@cluster_options.cluster_options
@combinations(
    *cluster_options.RULES,
    Needs("orphan_timeout", ("lease", "cluster")),
    Excludes("engine", ("model", "compute_type", "min_context"), "nothing is decoded", value="simulated"),
    Excludes("engine", ("sim_law",), "it is how a GPU of --engine simulated behaves", value="ctranslate2"),
    Excludes("engine", ("sim_law",), "it is how a GPU of --engine simulated behaves", value="torch"),
)
def command(**options: Any) -> None:  # noqa: ANN401  # click hands over the options above by name
    """Transcribe live audio on this machine's GPUs, or on its CPU.

    Open http://HOST:PORT/ in a browser to try it. Clients stream to the WebSocket /ws; metrics are at /metrics and
    /snapshot; /docs lists every endpoint.
    """
    try:
        from server.http.serving import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"the server is not installed ({error.name} is missing); install whisper-ops[server]"
        ) from error

    if options["cluster"] is not None:
        cluster_options.serve(options, slot_limit.of_cluster(options))
        return
    settings = _settings(options)
    what = f"{settings.model} on {', '.join(device.name for device in settings.devices)}"
    if settings.engine == "torch" and settings.model_path is None:
        narration().print(f"whisper-ops serve: {settings.model} is for timing: its text is nonsense")
    serve(settings, lambda url: _announce(what, url))


def _announce(what: str, url: str) -> None:
    """The first lines: what runs where, and how to try it."""
    # A browser cannot open the address that means every interface.
    page = url.replace("//0.0.0.0:", "//localhost:").replace("//[::]:", "//localhost:")
    narration().print(f"whisper-ops serve: {what}: listening on {url}", soft_wrap=True)
    narration().print(f"whisper-ops serve: open {page}/ in a browser to try it", soft_wrap=True)


def _settings(options: dict[str, Any]) -> "Settings":
    """The options, checked, as what the server reads."""
    from server import devices
    from server.commands import model_option
    from server.settings import Settings, SimulatedLaw

    simulated = options["engine"] == "simulated"
    token = own_token(options)
    with_torch = options["engine"] == "torch"
    if with_torch:
        from server.engines.torch import model_choice

        model_choice.check(options["compute_type"])
    found = devices.parse(options["devices"], simulated=simulated, torch=with_torch)
    devices.check_present(found, torch=with_torch)
    model = None if simulated else model_option.find(options["model"], torch=with_torch)
    name = model.name if model else "simulated"
    max_batch = slot_limit.max_batch(options, on_cpu=found[0].kind == "cpu")
    return Settings(
        devices=found,
        engine=options["engine"],
        model=name,
        model_path=model.path if model else None,
        compute_type=options["compute_type"],
        max_batch=max_batch,
        min_context_seconds=options["min_context"],
        host=options["host"],
        port=own_port(options["port"]),
        tls_certificate=certificate(options),
        tls_key=options["tls_key"],
        max_connections_per_gpu=slot_limit.of_server(options, name, max_batch),
        placement=options["placement"],
        when_full=options["when_full"],
        token=token,
        admin_token=read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN"),
        public_url=_public_url(options["public_url"]),
        allow_origins=origins(options),
        reconnect_url=_stream_url("--reconnect-url", options["reconnect_url"]),
        idle_seconds=options["idle_timeout"],
        max_idle_seconds=options["max_idle"],
        session_seconds=options["max_session"],
        drain_seconds=options["drain_timeout"],
        lease_seconds=_lease(options),
        orphan_seconds=options["orphan_timeout"],
        lag_objective_seconds=options["lag_objective"] or (LAG_GUARD_SECONDS if slot_limit.is_auto(options) else 0.0),
        connections_per_address=options["connections_per_address"],
        sample=options["sample"],
        log_json=options["log_json"],
        law=SimulatedLaw(**_law(options["sim_law"] or "")),
    )


def _lease(options: dict[str, Any]) -> float:
    seconds: float = options["lease"]
    if seconds and read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN") is None:
        raise UserError("--lease is renewed by an admin call, which needs a token: give --admin-token-file")
    return seconds


def _stream_url(option: str, text: str | None, example: str | None = None) -> str | None:
    """An address to give to clients. `example`: one that a template makes, to be checked in its place."""
    from server.settings import checked_stream_url

    try:
        if text:
            checked_stream_url(example or text)
    except ValueError as error:
        raise UserError(f"{option} {text!r} is not a WebSocket address ({error}), as wss://HOST/ws is") from error
    return text


def _public_url(template: str | None) -> str | None:
    example = template.replace("{pod_id}", "pod").replace("{port}", "1") if template else None
    return _stream_url("--public-url", template, example)


def _law(text: str) -> dict[str, Any]:
    """`a=0.012,b=0.0005` as the fields of a law."""
    fields: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        found = number(value, 1e15)
        if key not in _LAW_KEYS or found is None:
            raise UserError(f"--sim-law: {part!r} is not one of {', '.join(f'{k}=NUMBER' for k in _LAW_KEYS)}")
        fields[_LAW_KEYS[key]] = int(found) if key in ("fault", "hang") else found
    return fields
