"""`whisper-ops dash` without the full screen: table, JSON, exit codes; and that scripts need no textual."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

import dashboard
from dashboard.commands import dash as cli
from dashboard.replay.feed import Feed
from tests.dashboard.scenes import gpu, snapshot
from tests.dashboard.sockets import answering, http, listening, said
from tests.support.servers import free_port, whisper_ops
from whisper_ops import wire
from whisper_ops.history import History


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        yield f"http://127.0.0.1:{port}"


async def dash(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command in its own process, beside the server in this one."""
    return await asyncio.to_thread(partial(whisper_ops, "dash", *arguments, timeout=60, **environment))


async def test_once_prints_a_table(url: str) -> None:
    done = await dash(url, "--once")
    assert done.returncode == 0, done.stderr
    assert "● healthy" in done.stdout
    assert "(simulated)" in done.stdout
    assert "gpu 1" in done.stdout
    assert "0.40 s" in done.stdout
    assert "—" in done.stdout, "a temperature that nobody read"
    assert "\x1b[" not in done.stdout


async def test_json_is_versioned(url: str) -> None:
    done = await dash(url, "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["schema"] == "whisper-ops/dash/1"
    (server,) = body["servers"]
    assert server["figures"]["lag_p95_seconds"] == 0.4
    assert server["gpus"][0]["temperature_celsius"] is None


async def test_a_server_out_of_reach_is_a_sentence_and_exit_3(url: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    done = await dash(url, dead, "--once")
    assert done.returncode == 3
    assert "1 of 2 servers could not be reached" in done.stderr
    assert "connection refused" in done.stderr
    assert "● healthy" in done.stdout, "the other one is shown all the same"
    assert "Traceback" not in done.stderr


async def test_json_tells_of_a_silent_server_too() -> None:
    done = await dash(f"http://127.0.0.1:{free_port()}", "--json")
    assert done.returncode == 3
    (server,) = json.loads(done.stdout)["servers"]
    assert server["state"] == "silent"
    assert server["figures"] is None


async def test_watch_prints_a_line_of_json_again_and_again(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "whisper_ops", "dash", url, "--json", "--watch", "0.2", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(3):
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert json.loads(line)["servers"][0]["state"] == "live"
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 130


async def test_without_a_terminal_the_fleet_is_printed_once(url: str, tmp_path: Path) -> None:
    done = await dash(url, "--no-color", "--history", str(tmp_path / "history.db"))
    assert done.returncode == 0, done.stderr
    assert "● healthy" in done.stdout
    assert "this is no terminal" in done.stderr
    assert not (tmp_path / "history.db").exists(), "what is printed is not recorded"


async def test_a_replay_needs_a_terminal(tmp_path: Path) -> None:
    done = await dash("--replay", "1 h ago", "--history", str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


async def test_an_unreadable_token_file_is_a_sentence(tmp_path: Path, url: str) -> None:
    done = await dash(url, "--once", "--token-file", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "cannot read the token file" in done.stderr


def test_scripts_need_no_textual() -> None:
    folder = Path(dashboard.__file__).parent
    views = [f"dashboard.tui.pages.{path.stem}" for path in (folder / "tui" / "pages").glob("*.py")]
    modules = [f"dashboard.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join([*views, *modules])}; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_replay_from_the_command_line_keeps_the_rules_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time() - 600
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(snapshot("one", began + second, (gpu(0, 7, 1.6),)) for second in range(60))
    (tmp_path / "own.toml").write_text(
        '[alert."rather late"]\nfigure = "server.lag_p95_seconds"\nover = 1.5\nhold_seconds = 5\n', "utf-8"
    )
    (tmp_path / "whisper-ops.toml").write_text('[alerts]\nrules = "own.toml"\n', "utf-8")
    shown: list[Feed] = []

    def show(feed: Feed, *_: object) -> int:
        shown.append(feed)
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_terminal", lambda: True)
    monkeypatch.setattr(cli, "_run", show)
    moment = datetime.fromtimestamp(began + 50, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert CliRunner().invoke(cli.command, ["--replay", moment]).exit_code == 0
    (replay,) = shown
    assert [alert.rule for alert in replay.world().alerts] == ["rather late"]
    replay.close()


def test_a_terminal_that_is_closed_ends_it_and_what_was_polled_is_kept(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    command = [sys.executable, "-m", "whisper_ops", "dash", f"one=127.0.0.1:{free_port()}", "--history", str(history)]
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path)}
        os.execvp(command[0], command)  # our own command
    deadline, text = time.monotonic() + 30, b""
    while b"connection refused" not in text:
        assert time.monotonic() < deadline, text[-2000:]
        text += os.read(terminal, 65536)
    os.close(terminal)  # as a window that is shut does: the kernel sends SIGHUP
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with History.reading(history) as stored:
        assert [poll.state for poll in stored.polls.between("one", 0, time.time() + 1)][:1] == ["silent"]
