"""Nonsense in every option of every command: a sentence and a documented exit code, never a traceback, never a hang.

The list of options is click's own, so a new option is tried as well.
"""

import os
from pathlib import Path

import click
import pytest

from tests.capacity.planner_cli import whisper_ops
from tests.whisper_ops.cli.command_tree import commands, parameters
from whisper_ops import user_files
from whisper_ops.cli import run
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import Length

PARAMETERS = parameters()
NAMES = [f"{name} {parameter.opts[-1]}" for name, _, parameter in PARAMETERS]
NUMBERS = ("²", "١٢", "nan", "inf", "-inf", "NaN", "", " ", "1e400", "9" * 400, "0x10", "1_000", "1,5", "--1", "\0")
TEXTS = (
    "", "http://[", "ws://user:pa@[::1", "http://h:99999", "http://h:²", "http://²", "²", "١٢", "\x1b[2J", "[/nope]",
    "=", ",", ":", "a\nb", "nan", "1e400", "9" * 400, "x" * 10_000, "\udcff", "\0",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with all kinds of files that are no good."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(user_files, "PIPE_SECONDS", 0.05)
    for variable in [name for name in os.environ if name.startswith("WHISPER_OPS_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff\x00\xfe" * 50)
    (tmp_path / "empty").write_text("")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    (tmp_path / "deep.json").write_text('{"a":' * 5000)
    (tmp_path / "huge.toml").write_text(f"[poll]\ninterval_seconds = 1{'0' * 500}\ndeadline_seconds = inf\n")
    (tmp_path / "wide.csv").write_text("n" * 200_000 + ",x\n1,2\n2,3\n")
    (tmp_path / "x.csv").write_text("n,x\n1,2\n2,3\n")
    return tmp_path


PATHS = (
    "folder", "pipe", "loop", "binary", "empty", "deep.toml", "deep.json", "huge.toml", "x.csv/under", "x" * 5000,
    "/dev/full", "/proc/self/mem", "", "a\nb", "\udcff", "\0",
)  # fmt: skip


def _given(command: click.Command, parameter: click.Parameter, value: str) -> str | None:
    """What click says of a value; None where it takes it."""
    many = parameter.multiple or parameter.nargs == -1
    try:
        parameter.process_value(click.Context(command), (value,) if many else value)
    except (click.UsageError, UserError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(("name", "command", "parameter"), PARAMETERS, ids=NAMES)
def test_no_option_takes_what_is_no_value(
    place: Path, name: str, command: click.Command, parameter: click.Parameter
) -> None:
    del place, name
    kind = parameter.type
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType | Length):
        for value in NUMBERS:
            assert _given(command, parameter, value), value
        if isinstance(kind, click.types.IntParamType):
            assert _given(command, parameter, "1.5")
    else:
        for value in ("\udcff", "\0", "x" * 100_000):
            assert _given(command, parameter, value), value[:10]
    for value in PATHS if isinstance(kind, click.Path) else TEXTS:
        _given(command, parameter, value)  # a sentence or a value, and nothing else


WITH = {
    "serve": ["--engine", "simulated", "--devices", "sim:1", "--port", "0"],
    "broker": ["http://127.0.0.1:9", "--port", "0"],
    "dash": ["http://127.0.0.1:9", "--once"],
    "record": ["http://127.0.0.1:9", "--duration", "0.01"],
    "corpus make": ["folder"],
    "corpus show": ["folder"],
    "sweep run": ["127.0.0.1:9", "--levels", "1", "--duration", "1"],
    "sweep compare": ["1", "2"],
    "check": ["127.0.0.1:9"],
    "simulate": ["--peak-streams", "1", "--slots", "2"],
    "fit": ["x.csv", "--load", "n", "--metric", "x", "--kind", "cpu"],
    "import": ["x.csv", "--map", "at=n", "--map", "server.streams_active=x"],
}
"""What a command needs to come as far as its own reading of the options, and to end by itself."""


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that would go on for good end where their options are read."""
    import capacity.commands.demo
    import capacity.corpus.maker
    import capacity.corpus.word_times
    import server.broker.broker_process
    import server.http.serving

    def stop() -> None:
        raise UserError("enough")

    monkeypatch.setattr(capacity.commands.demo, "_check_installed", stop)
    monkeypatch.setattr(server.http.serving, "serve", lambda *_, **__: None)
    monkeypatch.setattr(server.broker.broker_process, "serve", lambda *_, **__: None)
    monkeypatch.setattr(capacity.corpus.maker, "make", lambda *_: None)
    monkeypatch.setattr(capacity.corpus.maker, "make_from", lambda *_: None)
    monkeypatch.setattr(capacity.corpus.word_times, "add_times", lambda *_: None)
    monkeypatch.setattr(capacity.corpus.maker, "is_made", lambda *_: True)


def _line(name: str, parameter: click.Parameter, value: str) -> list[str]:
    base = list(WITH.get(name, []))
    option = parameter.opts[-1]
    if isinstance(parameter, click.Argument):
        return [*name.split(), value, *base[1:]]
    if option in base:
        at = base.index(option)
        return [*name.split(), *base[:at], f"{option}={value}", *base[at + 2 :]]
    return [*name.split(), *base, f"{option}={value}"]


@pytest.mark.slow
@pytest.mark.usefixtures("place", "harmless")
@pytest.mark.parametrize(("name", "command", "parameter"), PARAMETERS, ids=NAMES)
def test_nonsense_that_is_taken_ends_in_a_sentence(
    capfd: pytest.CaptureFixture[str], name: str, command: click.Command, parameter: click.Parameter
) -> None:
    for value in PATHS if isinstance(parameter.type, click.Path) else TEXTS:
        if _given(command, parameter, value) is None and not value.startswith("-"):
            done = whisper_ops(capfd, *_line(name, parameter, value))
            assert done.code in {int(code) for code in Exit}, (value, done.err)
            assert "Traceback" not in done.err, (value, done.err)
            if done.code == Exit.USAGE:
                assert done.err.strip(), value


@pytest.mark.usefixtures("place", "harmless")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "²"), "takes a number"),
        (("serve", "--engine", "simulated", "--devices", "sim:1", "--reconnect-url", "ws://["), "brackets"),
        (("record", "http://127.0.0.1:9", "--webhook", "http://["), "--webhook needs an address"),
        (("record", "http://127.0.0.1:9", "--webhook", "http://h:²"), "its port is no number"),
        (("record", "http://["), "is no server address (its brackets do not close)"),
        (("record", "http://127.0.0.1:9", "--config", "deep.toml"), "nested too deep"),
        (("record", "http://127.0.0.1:9", "--alerts", "deep.toml"), "nested too deep"),
        (("record", "--hosts", "/dev/full"), "it holds more than"),
        (("record", "http://127.0.0.1:9", "--history", "pipe"), "is a pipe or a device"),
        (("dash", "²", "--once"), "it names no host"),
        (("dash", "ws://user:secret@[::1", "--once"), "ws://[::1"),
        (("sweep", "http://["), "is no server address"),
        (("sweep", "http://127.0.0.1:9", "--levels", "١٢"), "must be numbers of streams"),
        (("sweep", "http://127.0.0.1:9", "--levels", "9" * 30), "must be numbers of streams"),
        (("serve", "--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=nan"), "'a=nan' is not one of"),
        (("serve", "--engine", "simulated", "--devices", "sim:1", "--sim-law", "hang=1e400"), "is not one of"),
        (("check", "127.0.0.1:9", "--through", "http://h:99999"), "its port is no number"),
        (("import", "--prometheus", "http://["), "is no address of a Prometheus"),
        (("fit", "/dev/full", "--load", "n", "--metric", "x", "--kind", "cpu"), "it holds more than 512 MiB"),
        (("fit", "pipe", "--load", "n", "--metric", "x", "--kind", "cpu"), "nothing came out of it"),
        (("fit", "x.csv", "--load", "n", "--metric", "x", "--kind", "cpu", "--predict", "١٢"), "is not a number"),
        (("fit", "wide.csv", "--load", "n", "--metric", "x", "--kind", "cpu"), "is no CSV file: field larger than"),
        (("plan", "--history", "empty"), "is empty: nothing was recorded"),
        (("history", "info", "--history", "/proc/self/mem"), "is empty"),
        (("plan", "--price", "deep.toml", "--target", "5", "--history", "loop"), "levels of symbolic links"),
    ],
)
def test_what_broke_once_is_a_sentence(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    done = whisper_ops(capfd, *arguments)
    assert done.code == Exit.USAGE
    assert words in done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err


def test_every_command_is_in_the_tree() -> None:
    names = {name for name, _ in commands()}
    assert set(WITH) <= names
    assert len(PARAMETERS) > 100


@pytest.mark.parametrize("arguments", [("doctor",), ("serve",), ()])
def test_an_argument_that_is_none_is_repeated_without_its_control_characters(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run([*arguments, "\x1b]0;owned\x07\u202e"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "owned" in said
    assert all(character.isprintable() or character == "\n" for character in said)
