"""The dashboard in a real terminal (tmux): what a person types, sees, and finds recorded afterwards."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.servers import Running, running_server
from whisper_ops.history import History

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux (make system-packages)"),
]


class Tmux:
    """A terminal of its own, on a socket of its own."""

    def __init__(self, folder: Path, command: str, size: tuple[int, int] = (120, 40)) -> None:
        self.socket = str(folder / "tmux.sock")
        width, height = size
        self._run("new-session", "-d", "-s", "t", "-x", str(width), "-y", str(height), command)

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self.socket, "-f", "/dev/null", *arguments], capture_output=True, text=True, check=False
        ).stdout

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p", "-t", "t")

    def type(self, *keys: str) -> None:
        self._run("send-keys", "-t", "t", *keys)

    def shows(self, sign: str | Callable[[str], bool], seconds: float = 30.0) -> str:
        """Wait until the terminal shows something; its text."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.text
            if sign in text if isinstance(sign, str) else sign(text):
                return text
            assert time.monotonic() < deadline, f"never saw {sign!r} in:\n{text}"
            time.sleep(0.05)

    def terminate(self) -> None:
        """SIGTERM to the dashboard that runs in it."""
        shell = int(self._run("display-message", "-p", "-t", "t", "#{pane_pid}"))
        dashboards = [child for child in psutil.Process(shell).children() if "dash" in child.cmdline()]
        assert len(dashboards) == 1
        dashboards[0].terminate()

    def close(self) -> None:
        self._run("kill-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, "--engine", "simulated", "--devices", "sim:2") as running:
        yield running


@pytest.fixture
def terminal(tmp_path: Path, server: Running) -> Iterator[Tmux]:
    command = (
        f"cd {tmp_path}; XDG_STATE_HOME={tmp_path} {sys.executable} -m whisper_ops dash one={server.url}; "
        f"echo left with $?; cat"
    )
    opened = Tmux(tmp_path, command)
    yield opened
    opened.close()


def test_a_person_looks_around_and_leaves(terminal: Tmux, tmp_path: Path) -> None:
    first = terminal.shows("healthy")
    assert "simulated" in first, "what is simulated says so"
    assert "no measured limit: type :sweep" in first
    terminal.type("Enter")
    terminal.shows("fleet › one")
    terminal.shows("lag p95   ")
    terminal.type("h")
    terminal.shows(lambda text: "fleet › one" not in text)
    terminal.type(":sort lag", "Enter")  # all at once, as a paste would
    terminal.shows("lag p95▾")
    terminal.type("?")
    terminal.shows("Questions")
    terminal.type("h")
    terminal.shows("lag p95▾")
    terminal.type("R1 s ago", "Enter")
    terminal.shows("◀ replay")
    terminal.type("L")
    terminal.shows("● live")
    terminal.type("q")
    after = terminal.shows("left with 0")
    assert "Traceback" not in after
    with History.reading(tmp_path / "history.db") as history:
        assert history.polls.servers() == ["one"]
        assert list(history.polls.between("one", 0, time.time() + 1)), "what was seen is recorded"
    assert (tmp_path / "whisper-ops" / "dash.json").exists(), "how it was left is kept"


def test_a_signal_ends_it_as_cleanly_as_a_key(terminal: Tmux, tmp_path: Path) -> None:
    terminal.shows("healthy")
    terminal.terminate()
    after = terminal.shows("left with 0")
    assert "healthy" not in after, "the terminal is as it was before"
    with History.reading(tmp_path / "history.db") as history:
        assert history.polls.servers() == ["one"], "what was polled is kept"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--replay 'some day'", "write yesterday 14:00"),
        ("--replay '1 h ago'", "there is no history at"),
        ("http://127.0.0.1:1 --theme pink", "there is no theme 'pink'"),
    ],
)
def test_a_mistake_is_a_sentence_and_the_terminal_stays_as_it_is(tmp_path: Path, arguments: str, said: str) -> None:
    terminal = Tmux(
        tmp_path, f"cd {tmp_path}; {sys.executable} -m whisper_ops dash {arguments}; echo left with $?; cat"
    )
    try:
        text = terminal.shows("left with 2").replace("\n", "")
        assert said in text
        assert "Traceback" not in text
    finally:
        terminal.close()


def test_a_small_terminal_is_enough(tmp_path: Path, server: Running) -> None:
    command = (
        f"cd {tmp_path}; unset COLUMNS LINES; "  # test runners set them, and they would win over the terminal's size
        f"XDG_STATE_HOME={tmp_path} NO_COLOR=1 {sys.executable} -m whisper_ops dash one={server.url}"
    )
    terminal = Tmux(tmp_path, command, (60, 20))
    try:
        terminal.shows("q quit")
        text = terminal.shows("● one")
        assert max(len(line) for line in text.splitlines()) <= 60
        assert "? help" in text
    finally:
        terminal.close()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_demo_shows_its_fleet_with_a_caption_and_gives_the_terminal_back(tmp_path: Path) -> None:
    command = (
        f"cd {tmp_path}; XDG_STATE_HOME={tmp_path} {sys.executable} -m whisper_ops demo --act fleet; "
        f"echo left with $?; cat"
    )
    opened = Tmux(tmp_path, command, (100, 30))
    try:
        shown = opened.shows("level 1 of 3: 16 callers", 60)
        assert "SIMULATED" in shown
        assert "Enter opens a server" in shown
        assert "sim-1" in shown
        opened.shows("level 3 of 3: 64 callers", 60)
        opened.shows("sim-4 was killed", 60)
        ended = opened.shows("left with 0", 60)
        assert "simulated" in ended
    finally:
        opened.close()
