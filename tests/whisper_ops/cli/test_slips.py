"""What a newcomer types wrong, and what the command line says to it: what is missing, and what to write."""

import pytest

from tests.capacity.planner_cli import whisper_ops
from whisper_ops.cli import COMMANDS, OTHER_NAMES
from whisper_ops.errors import Exit


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("replay",), "whisper-ops dash --replay 'yesterday 14:00'"),
        (("load-test", "x"), "whisper-ops sweep URL"),
        (("plna",), "Did you mean 'plan'?"),
        (("sweep",), "Give the server's address, such as http://127.0.0.1:8000."),
        (("check",), "Give the server's address, such as http://127.0.0.1:8000."),
        (("dash", "--replay"), "requires an argument. It is --replay WHEN: Show the past instead: 'yesterday 14:00'"),
        (("plan", "--target"), "requires an argument. It is --target CALLS: Size a fleet"),
        (("sweep", "run", "x", "--levels"), "requires an argument. It is --levels TEXT: Numbers of streams"),
        (("plan", "--sever", "x"), "Did you mean one of: '--server', "),
    ],
)
def test_a_slip_is_answered_with_what_to_write(
    capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], words: str
) -> None:
    done = whisper_ops(capsys, *typed)
    assert done.code == Exit.USAGE
    assert words in done.err


def test_what_is_called_otherwise_elsewhere_is_called_something_here() -> None:
    assert not OTHER_NAMES.keys() & COMMANDS.keys()
    for said in OTHER_NAMES.values():
        assert said.startswith("--") or said.split()[0] in COMMANDS


@pytest.mark.parametrize("command", ["plan", "simulate", "sweep", "serve"])
def test_help_says_what_is_to_be_written_and_not_how_it_is_kept(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    said = whisper_ops(capsys, command, *(("run",) if command == "sweep" else ()), "--help").out
    assert "RANGE" not in said
    assert "INTEGER" not in said


@pytest.mark.parametrize("command", [("sweep", "run"), ("check",)])
def test_a_server_that_is_not_there_is_named_with_its_port(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """It said "All connection attempts failed", and not that it had tried port 80."""
    done = whisper_ops(capsys, *command, "localhost:9")
    assert done.code == Exit.UNREACHABLE
    assert "cannot reach localhost:9: connection refused by localhost:9; is the server running?" in done.err
    assert "8000" not in done.err
    done = whisper_ops(capsys, *command, "127.0.0.3")
    assert "connection refused by 127.0.0.3:80; is the server running? No port was named; " in done.err
