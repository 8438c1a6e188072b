"""What whisper-ops.toml may say about watching: servers, polling, the history's retention, the alert rules."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from dashboard.polling.discovery import DnsName
from dashboard.polling.poller import DEADLINE_SECONDS, INTERVAL_SECONDS, Pollers
from dashboard.polling.server_list import DEFAULT_CONFIG, ServerEntry, gather
from dashboard.polling.sources.factory import make
from whisper_ops.errors import UserError
from whisper_ops.history import Retention
from whisper_ops.known_software import LOCAL
from whisper_ops.server_names import default_name
from whisper_ops.snapshot_client.source import Source
from whisper_ops.toml_lines import TomlFile

DAY = 86400.0


class PollTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[poll]: how often servers are asked."""

    interval_seconds: float = INTERVAL_SECONDS
    deadline_seconds: float = DEADLINE_SECONDS


class RetentionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[history]: how long each tier is kept."""

    raw_days: float = 3
    minute_days: float = 14
    hour_days: float = 400
    max_gigabytes: float = 20

    def retention(self) -> Retention:
        """The same in base units.

        Raises:
            ValueError: polls would be kept longer than the minutes made of them, or minutes longer than hours.
        """
        if not 0 < self.raw_days <= self.minute_days <= self.hour_days:
            raise ValueError(
                "raw_days, minute_days and hour_days must be above 0 and may not get smaller in this order"
            )
        return Retention(
            raw_seconds=self.raw_days * DAY,
            minute_seconds=self.minute_days * DAY,
            hour_seconds=self.hour_days * DAY,
            max_bytes=self.max_gigabytes * 1e9,
        )


class AlertTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[alerts]: rules of one's own."""

    rules: str | None = None
    """A file beside this one, read on top of the shipped rules."""


class WatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a dashboard or a recorder is started with."""

    servers: list[ServerEntry]
    poll: PollTable = PollTable()
    retention: Retention = Retention()
    alerts: Path | None = None
    """A file of alert rules; None: those that are shipped."""
    token: str | None = None
    default_reason: str | None = None
    """Why these servers are watched, where nobody named any."""
    keep_addresses: bool = True
    """Whether the history is to know how they are reached: not that of a guess, which nobody ever named."""

    def fleet(self) -> Pollers:
        """The pollers, not running yet.

        Raises:
            UserError: a token or a mapping cannot be read.
        """
        fleet = Pollers(
            [make(server, self.token) for server in self.servers if not server.replicas],
            [DnsName(server, self._maker(server)) for server in self.servers if server.replicas],
            interval=self.poll.interval_seconds,
            deadline=self.poll.deadline_seconds,
        )
        fleet.reached = {server.label: server.reached_by if self.keep_addresses else "" for server in self.servers}
        fleet.addresses = {
            one.label: default_name(one.url) for one in self.servers if one.kind != LOCAL and not one.replicas
        }
        return fleet

    def _maker(self, server: ServerEntry) -> Callable[[str], Source]:
        return lambda address: make(server, self.token, address)


def load(
    arguments: Sequence[str] = (),
    *,
    hosts: Sequence[Path] = (),
    config: Path | None = None,
    interval: float | None = None,
    alerts: Path | None = None,
    token: str | None = None,
    history: Path | None = None,
) -> WatchConfig:
    """What to watch: the command line's words before those of `config` (whisper-ops.toml when it is there).

    Where neither names a server it is those of `history`, else this machine and a server on it; without a `history`
    that is an error.

    Raises:
        UserError: no server is named, or a file cannot be read or is wrong; with its line.
    """
    file = _file(config)
    tables = {} if file is None else file.tables
    poll, keep = PollTable(), RetentionTable()
    if file is not None:
        poll = file.struct(tables.get("poll", {}), PollTable, "poll")
        keep = file.struct(tables.get("history", {}), RetentionTable, "history")
        alerts = alerts or _rules(file)
    try:
        retention = keep.retention()
    except ValueError as error:
        assert file is not None
        raise file.wrong(str(error), "history") from error
    if interval is not None:
        poll = msgspec.structs.replace(poll, interval_seconds=interval)
    if poll.interval_seconds <= 0 or poll.deadline_seconds <= 0:
        raise UserError("interval_seconds and deadline_seconds of [poll] must be above 0")
    default_reason, keep_addresses = None, True
    if history is not None and not arguments and not hosts and not tables.get("server"):
        from dashboard.polling.default_servers import known_servers  # noqa: PLC0415  # SQLite: most commands name servers

        servers, default_reason, keep_addresses = known_servers(history)
    else:
        servers = gather(arguments, hosts, file)
    return WatchConfig(
        servers=servers,
        poll=poll,
        retention=retention,
        alerts=alerts,
        token=token,
        default_reason=default_reason,
        keep_addresses=keep_addresses,
    )


def alert_rules(config: Path | None = None) -> Path | None:
    """The file of alert rules that `config` (whisper-ops.toml when it is there) names, for who polls nothing.

    Raises:
        UserError: the file cannot be read.
    """
    file = _file(config)
    return None if file is None else _rules(file)


def _rules(file: TomlFile) -> Path | None:
    rules = file.struct(file.tables.get("alerts", {}), AlertTable, "alerts").rules
    return None if rules is None else file.path.parent / rules


def _file(config: Path | None) -> TomlFile | None:
    if config is not None:
        return TomlFile(config)
    return TomlFile(DEFAULT_CONFIG) if DEFAULT_CONFIG.exists() else None
