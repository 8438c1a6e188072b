"""`whisper-ops broker`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.cluster_options import checked_address, without_ray
from server.commands.listen_options import certificate, origins, own_port, own_token, serving_options
from whisper_ops.addresses import parsed, shown
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.option_rules import Excludes, combinations
from whisper_ops.cli.options import ca_option
from whisper_ops.console import narration
from whisper_ops.errors import UserError
from whisper_ops.units import Length
from whisper_ops.user_files import read_text

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from server.broker.broker_settings import BrokerSettings, KubernetesService, NamedMember

_ARGUMENT = re.compile(r"(?:(?P<name>[^=/+:]+)=)?(?P<source>dns\+|k8s\+)?(?P<url>.+)")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What Kubernetes calls services and namespaces."""
_FILE = click.Path(path_type=Path)
_MOST_BYTES = 1 << 20


@click.command("broker")
@click.argument("members", nargs=-1, metavar="[NAME=][dns+|k8s+]URL…")
@click.option("--hosts", multiple=True, type=_FILE, help="A file of members, one a line; `#` begins a comment.")
@click.option(
    "--cluster", metavar="HOST:PORT", help="In place of members: the workers of `serve --cluster` at that Ray head."
)
@serving_options
@click.option("--member-token-file", type=_FILE, help="Else WHISPER_OPS_MEMBER_TOKEN, else the broker's own token.")
@click.option(
    "--member-admin-token-file",
    type=_FILE,
    help="Else WHISPER_OPS_MEMBER_ADMIN_TOKEN, else its own: to reserve slots in clients' names, and to drain.",
)
@click.option(
    "--interval", type=Length(least_open=True), default="1s", show_default=True, help="Between two polls of a member."
)
@click.option(
    "--deadline",
    type=Length(least_open=True),
    default="2s",
    show_default=True,
    help="A member that has not answered by then is silent.",
)
@click.option(
    "--deletion-cost",
    is_flag=True,
    help="With k8s+: before the fleet scales down write pod-deletion-cost, so that its emptiest pod is deleted first.",
)
@click.option("--log-json", is_flag=True, help="One JSON object a log line.")
@ca_option
@combinations(Excludes("cluster", ("members", "hosts"), "its workers are the members"))
def command(**options: Any) -> None:  # noqa: ANN401  # click hands over the options above by name
    """Send each client to the least loaded of several servers, and show them all as one server.

    A member is the address of a whisper-ops server as clients reach it. dns+http://asr.default.svc:8000 is a member for
    each IP address of the name; k8s+http://SERVICE:8000, in a cluster, one for each pod of the service. GET /connect
    reserves a slot at the least loaded member and answers with that member's address; audio never passes through the
    broker, and any number of brokers may run in parallel.
    """
    try:
        from server.broker.broker_process import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"the broker is not installed ({error.name} is missing); install whisper-ops[server]"
        ) from error

    settings = _settings(options)
    if options["cluster"] is not None:
        _serve_cluster(options["cluster"], settings)
        return
    count = len(settings.members)
    what = (
        f"{count} member{'' if count == 1 else 's'}" if settings.service is None else f"pods of {settings.service.name}"
    )
    serve(settings, lambda url: narration().print(f"whisper-ops broker: {what}: listening on {url}", soft_wrap=True))


def _serve_cluster(address: str, settings: "BrokerSettings") -> None:
    address = checked_address(address)
    try:
        from server.cluster.cluster_process import serve_broker
    except ModuleNotFoundError as error:
        raise without_ray(error) from error
    what = f"whisper-ops broker: the workers of {address}: listening on"
    serve_broker(settings, address, lambda url: narration().print(f"{what} {url}", soft_wrap=True))


def _settings(options: dict[str, Any]) -> "BrokerSettings":
    from server.broker.broker_settings import BrokerSettings

    token = own_token(options)
    admin = read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN")
    lines = _lines(options) if options["cluster"] is None else []
    service = _service(lines)
    if options["deletion_cost"] and service is None:
        raise UserError("--deletion-cost needs pods as members, k8s+http://SERVICE; leave it out")
    return BrokerSettings(
        members=_members(lines) if service is None else (),
        service=service,
        deletion_cost=options["deletion_cost"],
        host=options["host"],
        port=own_port(options["port"]),
        token=token,
        admin_token=admin,
        member_token=read_token(options["member_token_file"], "WHISPER_OPS_MEMBER_TOKEN") or token,
        member_admin_token=read_token(options["member_admin_token_file"], "WHISPER_OPS_MEMBER_ADMIN_TOKEN") or admin,
        allow_origins=origins(options),
        tls_certificate=certificate(options),
        tls_key=options["tls_key"],
        interval_seconds=options["interval"],
        deadline_seconds=options["deadline"],
        log_json=options["log_json"],
    )


def _lines(options: dict[str, Any]) -> list[str]:
    """The members as they were named, each once or more."""
    lines = list(options["members"])
    for path in options["hosts"]:
        text = read_text(path, "the members in ", _MOST_BYTES)
        lines += [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    if not lines:
        raise UserError("no member is named; give the addresses of servers, such as http://asr-1:8000")
    return lines


def _members(lines: list[str]) -> "tuple[NamedMember, ...]":
    found = [_member(line) for line in lines]
    for one in found:
        if sum(other.url == one.url for other in found) > 1:
            raise UserError(f"the member {one.url} is named twice; leave one of them out")
    return tuple(found)


def _service(lines: list[str]) -> "KubernetesService | None":
    """The service in Kubernetes that was named; None where there is none.

    Raises:
        UserError: it is no service's address, or there is another member beside it.
    """
    from server.broker.broker_settings import KubernetesService

    matches = [_ARGUMENT.fullmatch(line.strip()) for line in lines]
    match = next((one for one in matches if one is not None and one["source"] == "k8s+"), None)
    if match is None:
        return None
    if len(lines) > 1 or match["name"]:
        raise UserError(
            f"{shown(match[0])} is the whole fleet, and its pods have names; give no NAME= and no other member"
        )
    parts = _address(match["url"], match[0])
    labels = (parts.hostname or "").split(".")
    if (len(labels) > 2 and labels[2] != "svc") or not all(map(_LABEL.fullmatch, labels)):
        raise UserError(
            f"{shown(match[0])!r} names no service; say k8s+http://SERVICE:8000 or k8s+http://SERVICE.NAMESPACE:8000"
        )
    return KubernetesService(labels[0], labels[1] if len(labels) > 1 else None, parts.scheme, parts.port)


def _member(text: str) -> "NamedMember":
    from server.broker.broker_settings import NamedMember

    match = _ARGUMENT.fullmatch(text.strip())
    parts = _address(match["url"] if match else "", text)
    assert match is not None
    return NamedMember(match["name"] or parts.netloc, f"{parts.scheme}://{parts.netloc}", match["source"] is not None)


def _address(url: str, text: str) -> "SplitResult":
    """Scheme, host and port, and nothing else."""
    try:
        parts = parsed(url if "://" in url else f"http://{url}", ("http", "https"))
    except ValueError as error:
        raise UserError(
            f"{shown(text)!r} is no address of a server ({error}); give one like http://asr-1:8000"
        ) from error
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise UserError(
            f"{shown(text)!r} is more than scheme, host and port; a token goes into --member-token-file, "
            "and a server's endpoints lie at the root"
        )
    return parts
