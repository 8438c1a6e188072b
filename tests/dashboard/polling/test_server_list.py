"""Which servers are polled: arguments, host files, whisper-ops.toml, DNS names; mistakes are named by line."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.config import load
from dashboard.polling.discovery import DnsName
from dashboard.polling.poller import Pollers
from dashboard.polling.server_list import ServerEntry, from_argument, from_host_file
from dashboard.polling.sources.factory import make
from tests.dashboard.sockets import answering, http, listening, said, until
from whisper_ops import wire
from whisper_ops.errors import UserError
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.source import Source
from whisper_ops.toml_lines import TomlFile


@pytest.mark.parametrize(
    ("argument", "server", "label"),
    [
        ("http://asr-1:8000", ServerEntry(url="http://asr-1:8000"), "asr-1:8000"),
        ("asr-1:8000", ServerEntry(url="http://asr-1:8000"), "asr-1:8000"),
        ("fra=https://asr-1/base", ServerEntry(url="https://asr-1/base", name="fra"), "fra"),
        ("node+http://h:9100", ServerEntry(url="http://h:9100", kind="node"), "h:9100"),
        ("dns+http://asr.example:8000", ServerEntry(url="http://asr.example:8000", replicas=True), "asr.example:8000"),
        (
            "b=dns+whisperlive+http://h:1",
            ServerEntry(url="http://h:1", name="b", kind="whisperlive", replicas=True),
            "b",
        ),
        ("local", ServerEntry(kind="local"), "local"),
        ("http://[::1]:8000", ServerEntry(url="http://[::1]:8000"), "[::1]:8000"),
        ("http://[fe80::1%eth0]:8000", ServerEntry(url="http://[fe80::1%eth0]:8000"), "[fe80::1%eth0]:8000"),
        ("http://größe.example", ServerEntry(url="http://größe.example"), "größe.example"),
    ],
)
def test_an_argument_names_a_server(argument: str, server: ServerEntry, label: str) -> None:
    assert from_argument(argument) == server
    assert from_argument(argument).label == label


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("http://", "is no server address"),
        ("http://h:port", "is no server address"),
        ("ftp://h", "is no server address"),
        ("%%% not a server at all ///", "is no server address"),
        ("h\x00 junk", "is no server address"),
        ("http://h:1/a path", "is no server address"),
        ("<html>", "is no server address"),
        ("gopher+http://h:1", "no kind of server called gopher"),
        ("prometheus+http://h:1", "needs mapping"),
    ],
)
def test_what_is_no_server_is_said(argument: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        from_argument(argument)


@pytest.mark.parametrize("argument", ["http://h:1/?token=hunter2", "http://user:hunter2@h:1"])
def test_a_token_in_an_address_is_refused_and_not_repeated(argument: str) -> None:
    with pytest.raises(UserError, match="holds a token or password") as caught:
        from_argument(argument)
    assert "hunter2" not in str(caught.value)


def test_a_host_file_has_a_server_a_line(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# the fleet\nasr-1:8000  # first\n\nfra=http://asr-2:8000\n")
    assert [server.label for server in from_host_file(path)] == ["asr-1:8000", "fra"]
    path.write_text("asr-1:8000\n\nhttp://\n")
    with pytest.raises(UserError, match=r"hosts, line 3: 'http://' is no server address"):
        from_host_file(path)
    with pytest.raises(UserError, match="cannot read the host file"):
        from_host_file(tmp_path / "missing")


TOML = """
[poll]
interval_seconds = 5

[history]
raw_days = 1

[[server]]
url = "http://asr-1:8000"
token_env = "A_TOKEN"

[[server]]
url = "http://asr-2:9100"
kind = "node"
name = "machine two"
"""


def test_the_configuration_names_servers_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whisper-ops.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    watch = load()
    assert [server.label for server in watch.servers] == ["asr-1:8000", "machine two"]
    assert (watch.poll.interval_seconds, watch.retention.raw_seconds) == (5, 86400)
    assert load(interval=2.0).poll.interval_seconds == 2
    assert [server.label for server in load(["http://other:1"]).servers] == ["other:1"]
    with pytest.raises(UserError, match="should be in A_TOKEN, which is not set"):
        watch.fleet()
    monkeypatch.setenv("A_TOKEN", "t")
    assert list(watch.fleet().pollers) == ["asr-1:8000", "machine two"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("kind =", "knd =", r"line 14: \[server\] contains unknown field `knd`"),
        ("interval_seconds = 5", 'interval_seconds = "5"', r"line 3: Expected `float`, got `str`"),
        ('kind = "node"', 'kind = "nod"', r"line 12: there is no kind of server called nod"),
        ("raw_days = 1", "raw_days = 20", r"line 5: raw_days, minute_days and hour_days"),
        ("[poll]", "[poll", r"no valid TOML: .*line 2"),
        ("[[server]]", "[server]", r"(no valid TOML|two brackets)"),
    ],
)
def test_mistakes_in_the_configuration_are_named_by_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "whisper-ops.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(UserError, match=sentence) as caught:
        load(config=path)
    assert caught.value.code == 2


def test_no_server_and_one_name_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="name at least one server"):
        load()
    with pytest.raises(UserError, match="two servers are called a; give one of them another name"):
        load(["a=http://one:1", "a=http://two:1"])
    with pytest.raises(UserError, match="cannot read"):
        load(config=tmp_path / "missing.toml")


def test_lines_are_found_in_tables_of_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('a = 1\n[alert."gpu failed"]\nb = 1\n[[server]]\n# [[server]]\n[[server]] # second\nc.d = 1\n')
    file = TomlFile(path)
    assert file.line("server", 1) == 6
    assert file.line("server", 1, "c") == 7
    assert file.line("server", 5, "c") == 1


async def test_each_replica_behind_a_name_is_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["127.0.0.1", "127.0.0.2"]

    async def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, 0)) for address in addresses]

    heads: list[bytes] = []
    async with listening(
        answering(lambda: http(wire.encode(said())), heads), host="0.0.0.0"
    ) as port:  # two loopback addresses
        server = from_argument(f"asr=dns+http://asr.example:{port}")
        fleet = Pollers([], [DnsName(server, _maker(server))], interval=0.02, find_seconds=0.02)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _only("asr.example", resolve))
        seen: list[Snapshot] = []
        gone: list[str] = []
        task = asyncio.create_task(fleet.run(seen.append, gone.append))
        await until(lambda: {snapshot.server for snapshot in seen} == {"asr/127.0.0.1", "asr/127.0.0.2"})
        assert all(snapshot.state == "live" for snapshot in seen)
        assert f"Host: asr.example:{port}".encode() in heads[0]
        addresses.remove("127.0.0.2")
        seen.clear()
        await until(lambda: len(seen) > 10)
        # It still answers, so it is still polled.
        assert {snapshot.server for snapshot in seen} == {"asr/127.0.0.1", "asr/127.0.0.2"}
    await until(lambda: list(fleet.pollers) == ["asr/127.0.0.1"])
    await until(lambda: gone == ["asr/127.0.0.2"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_name_that_cannot_be_resolved_is_a_silent_server() -> None:
    server = from_argument("dns+http://no-such-host.invalid:8000")
    (silent,) = await Pollers([], [DnsName(server, _maker(server))]).once()
    assert (silent.server, silent.state) == ("no-such-host.invalid:8000", "silent")
    assert silent.error == "unknown host no-such-host.invalid"


def _maker(server: ServerEntry) -> Callable[[str], Source]:
    return lambda address: make(server, None, address)


def _only(host: str, resolve: Callable[..., object]) -> Callable[..., object]:
    """Resolve `host` by `resolve`, and addresses as ever."""
    original = asyncio.get_running_loop().getaddrinfo

    def choose(name: str, *arguments: object, **options: object) -> object:
        return resolve(name) if name == host else original(name, *arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    return choose
