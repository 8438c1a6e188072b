"""`whisper-ops broker`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whisper_ops.addresses import parsed, shown
from whisper_ops.cli.options import ca_option
from whisper_ops.cli.serving import certificate, origins, own_port, own_token, serving_options
from whisper_ops.console import narration
from whisper_ops.errors import UserError
from whisper_ops.files import read_text
from whisper_ops.secrets import read_token
from whisper_ops.units import Length

if TYPE_CHECKING:
    from server.broker.settings import BrokerSettings, Named

_ARGUMENT = re.compile(r"(?:(?P<name>[^=/+:]+)=)?(?P<dns>dns\+)?(?P<url>.+)")
_FILE = click.Path(path_type=Path)
_MOST_BYTES = 1 << 20


@click.command("broker")
@click.argument("members", nargs=-1, metavar="[NAME=][dns+]URL…")
@click.option("--hosts", multiple=True, type=_FILE, help="A file with one member a line; `#` begins a comment.")
@serving_options
@click.option("--member-token-file", type=_FILE, help="Else WHISPER_OPS_MEMBER_TOKEN, else the broker's own token.")
@click.option(
    "--member-admin-token-file",
    type=_FILE,
    help="Else WHISPER_OPS_MEMBER_ADMIN_TOKEN, else its own: reserves slots for clients by their address, and drains.",
)
@click.option(
    "--interval", type=Length(least_open=True), default="1s", show_default=True, help="From reading to reading."
)
@click.option(
    "--deadline",
    type=Length(least_open=True),
    default="2s",
    show_default=True,
    help="A member that has not answered by then is silent.",
)
@click.option("--log-json", is_flag=True, help="One JSON object a log line.")
@ca_option
def command(**options: Any) -> None:  # noqa: ANN401  # click hands over the options above by name
    """Send the clients of several servers to one that has room, and show all of them as one server.

    A member is a whisper-ops server at the address that its clients reach; dns+http://asr.default.svc:8000 is one
    server for each address behind the name. GET /connect answers with the address of the least loaded server and a slot
    held there; audio never passes the broker, and any number of brokers may run beside each other.
    """
    try:
        from server.broker.run import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"the broker is not installed ({error.name} is missing); install whisper-ops[server]"
        ) from error

    settings = _settings(options)
    count = len(settings.members)
    what = f"{count} member{'' if count == 1 else 's'}"
    serve(settings, lambda url: narration().print(f"whisper-ops broker: {what}: listening on {url}", soft_wrap=True))


def _settings(options: dict[str, Any]) -> "BrokerSettings":
    from server.broker.settings import BrokerSettings

    token = own_token(options)
    admin = read_token(options["admin_token_file"], "WHISPER_OPS_ADMIN_TOKEN")
    return BrokerSettings(
        members=_members(options),
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


def _members(options: dict[str, Any]) -> "tuple[Named, ...]":
    lines = list(options["members"])
    for path in options["hosts"]:
        text = read_text(path, "the members in ", _MOST_BYTES)
        lines += [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    if not lines:
        raise UserError("no member is named; give the addresses of servers, such as http://asr-1:8000")
    found = [_member(line) for line in lines]
    for one in found:
        if sum(other.url == one.url for other in found) > 1:
            raise UserError(f"the member {one.url} is named twice; leave one of them out")
    return tuple(found)


def _member(text: str) -> "Named":
    from server.broker.settings import Named

    match = _ARGUMENT.fullmatch(text.strip())
    url = match["url"] if match else ""
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
    assert match is not None
    return Named(match["name"] or parts.netloc, f"{parts.scheme}://{parts.netloc}", match["dns"] is not None)
