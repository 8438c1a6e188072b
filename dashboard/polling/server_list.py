"""Which servers to poll: from arguments, whisper-ops.toml, a host file, or a DNS name with many replicas."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlunsplit

import msgspec

from whisper_ops.addresses import PLAIN, parsed, shown
from whisper_ops.bearer_tokens import read_token
from whisper_ops.errors import UserError
from whisper_ops.exporters import catalogue
from whisper_ops.known_software import LOCAL, WHISPER_OPS
from whisper_ops.server_names import default_name
from whisper_ops.snapshot_client.client import DETECTED_KINDS
from whisper_ops.text_bounds import short
from whisper_ops.toml_lines import TomlFile
from whisper_ops.user_files import read_text

DEFAULT_CONFIG = Path("whisper-ops.toml")
KINDS = (*DETECTED_KINDS, *(kind for kind in catalogue.KINDS if kind not in DETECTED_KINDS), "prometheus", LOCAL)
"""What can be polled; `prometheus` with a mapping file of one's own."""

_ARGUMENT = re.compile(r"(?:(?P<name>[^=/+:]+)=)?(?P<kinds>(?:[a-z-]+\+)*)(?P<url>.+)")

"""A name, in any script, or an address; that of IPv6 may name its interface."""


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server to poll, as a [[server]] table of whisper-ops.toml says it."""

    url: str = "local:"
    name: str | None = None
    kind: str = WHISPER_OPS
    replicas: bool = False
    """The host is a DNS name; each address behind it is a server of its own."""
    mapping: str | None = None
    """For kind `prometheus`: the file that says which metric is which figure."""
    token_env: str | None = None
    token_file: str | None = None

    @property
    def label(self) -> str:
        """The name that its rows carry."""
        return self.name or ("local" if self.kind == LOCAL else default_name(self.url))

    @property
    def reached_by(self) -> str:
        """As the history keeps it: JSON, with neither a token nor where one is."""
        return msgspec.json.encode(msgspec.structs.replace(self, token_env=None, token_file=None)).decode()

    def token(self, default: str | None) -> str | None:
        """Its own token, else the default one.

        Raises:
            UserError: the file cannot be read, or the variable is not set.
        """
        if self.token_file is not None:
            return read_token(Path(self.token_file))
        if self.token_env is None:
            return default
        token = os.environ.get(self.token_env)
        if not token:
            raise UserError(f"the token of {self.label} should be in {self.token_env}, which is not set")
        return token


def from_argument(argument: str) -> ServerEntry:
    """Read `[NAME=][dns+][KIND+]URL`; a bare `host:port` is http.

    Raises:
        UserError: it is no address, or holds a token.
    """
    match = _ARGUMENT.fullmatch(short(argument, "a server's address", 4_000).strip())
    if match is None:
        raise UserError("an empty server address; give one like http://localhost:8000")
    kinds = [kind for kind in match["kinds"].split("+") if kind]
    url, replicas = match["url"], "dns" in kinds
    kind = next((kind for kind in kinds if kind != "dns"), WHISPER_OPS)
    if url == "local":
        return ServerEntry(name=match["name"], kind=LOCAL)
    if "://" not in url:
        url = f"http://{url}"
    return checked(ServerEntry(url=url, name=match["name"], kind=kind, replicas=replicas))


def checked(server: ServerEntry) -> ServerEntry:
    """The same server.

    Raises:
        UserError: its address, kind or mapping cannot be right.
    """
    if server.kind not in KINDS:
        raise UserError(f"there is no kind of server called {server.kind}; there are {', '.join(KINDS)}")
    if server.kind == LOCAL:
        return server
    try:
        parts = parsed(server.url, ("http", "https", *PLAIN))
    except ValueError as error:
        raise UserError(
            f"{shown(server.url)!r} is no server address ({error}); give one like http://localhost:8000"
        ) from error
    if parts.scheme in PLAIN:  # where its streams go; its figures are beside that
        url = urlunsplit((PLAIN[parts.scheme], parts.netloc, "", parts.query, ""))
        server = msgspec.structs.replace(server, url=url)
    if parts.username or parts.password or "token" in parts.query:
        # The address itself is not repeated: what is in it should not reach a log.
        raise UserError(
            f"the address of {server.label} holds a token or password, which other users can see in the process list; "
            "put it into WHISPER_OPS_TOKEN or a file (--token-file, or token_file in whisper-ops.toml)"
        )
    if server.kind == "prometheus" and server.mapping is None:
        raise UserError(f'{server.label} is of kind prometheus and needs mapping = "FILE.toml" (docs/monitoring.md)')
    return server


def from_host_file(path: Path) -> list[ServerEntry]:
    """One server a line, written like an argument; `#` begins a comment.

    Raises:
        UserError: it cannot be read, or a line is no address; with the line.
    """
    lines = read_text(path, "the host file ").splitlines()
    servers: list[ServerEntry] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].strip()
        if words:
            try:
                servers.append(from_argument(words))
            except UserError as error:
                raise UserError(f"{path}, line {number}: {error}") from error
    return servers


def from_toml(file: TomlFile) -> list[ServerEntry]:
    """The [[server]] tables.

    Raises:
        UserError: one of them is wrong; with its line.
    """
    tables = file.tables.get("server", [])
    if not isinstance(tables, list):
        raise file.wrong("servers are written as [[server]], with two brackets", "server")
    servers: list[ServerEntry] = []
    for number, table in enumerate(tables):
        server = file.struct(table, ServerEntry, "server", number)
        try:
            servers.append(checked(server))
        except UserError as error:
            raise file.wrong(str(error), "server", number) from error
    return servers


def without_repetition(servers: Iterable[ServerEntry]) -> list[ServerEntry]:
    """The servers in order.

    Raises:
        UserError: two of them would share a name, and so their rows.
    """
    named: dict[str, ServerEntry] = {}
    for server in servers:
        other = named.setdefault(server.label, server)
        if other is not server and other != server:
            raise UserError(f"two servers are called {server.label}; give one of them another name, as in NAME=URL")
    return list(named.values())


def gather(arguments: Sequence[str], hosts: Sequence[Path], config: TomlFile | None) -> list[ServerEntry]:
    """All servers: arguments first, then host files, then the configuration when nothing else names any.

    Raises:
        UserError: there is none, or one of them is wrong.
    """
    servers = [from_argument(argument) for argument in arguments]
    servers += [server for path in hosts for server in from_host_file(path)]
    if not servers and config is not None:
        servers = from_toml(config)
    if not servers:
        raise UserError(
            f"name at least one server, as in http://localhost:8000, or put [[server]] tables into {DEFAULT_CONFIG}"
        )
    return without_repetition(servers)
