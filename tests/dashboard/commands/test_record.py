"""`whisper-ops record`: it runs unwatched, ends cleanly, survives being killed, and says each change once."""

import asyncio
import os
import random
import re
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dashboard.commands import record
from dashboard.polling.server_list import KINDS
from tests.dashboard.sockets import answering, http, listening, said, until
from whisper_ops import wire
from whisper_ops.history import History
from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.snapshot import Snapshot


@asynccontextmanager
async def recording(history: Path, *words: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`whisper-ops record` in a process of its own, killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "whisper_ops", "record", "--history", str(history), *words,
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert out == b""  # stdout is data, and there is none
    assert process.returncode is not None
    return process.returncode, err.decode()


def rows(history: Path, server: str) -> list[Snapshot]:
    with History.reading(history) as opened:
        return list(opened.polls.between(server, 0, 1e12))


def count(history: Path) -> int:
    if not history.exists():
        return 0
    connection = sqlite3.connect(f"file:{history}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM server_sample").fetchone()[0])
    except sqlite3.Error:
        return 0  # not made yet
    finally:
        connection.close()


async def test_it_records_for_a_duration_and_says_what_it_did(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        words = (f"one=http://127.0.0.1:{port}", f"gone=http://127.0.0.1:{port - 1}", "--duration", "2")
        async with recording(history, *words, "--interval", "0.1", WHISPER_OPS_TOKEN="secret-token") as process:
            code, err = await ended(process)
    assert code == 0, err
    assert "recording 2 servers into" in err
    assert f"gone: connection refused by 127.0.0.1:{port - 1}" in err
    assert err.count("connection refused") == 1
    assert "recorded" in err
    polled = rows(history, "one")
    assert len(polled) >= 3
    assert all(snapshot.state == "live" and len(snapshot.gpus) == 2 for snapshot in polled)
    assert all(snapshot.state == "silent" for snapshot in rows(history, "gone"))
    with History.reading(history) as opened:
        kinds = [event.kind for event in opened.polls.events(0, 1e12)]
    assert (kinds[0], kinds[-1], kinds.count("silent")) == ("recorder_started", "recorder_stopped", 1)
    assert "secret-token" not in err
    assert b"secret-token" not in history.read_bytes()


async def test_nobody_answering_is_exit_code_3(tmp_path: Path) -> None:
    async with recording(tmp_path / "history.db", "http://127.0.0.1:1", "--duration", "3") as process:
        code, _ = await ended(process)
    assert code == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_with_everything_committed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    history = tmp_path / "history.db"
    async with (
        listening(answering(lambda: http(wire.encode(said())))) as port,
        recording(history, f"one=http://127.0.0.1:{port}", "--interval", "0.1") as process,
    ):
        await until(lambda: count(history) > 0)
        process.send_signal(number)
        assert (await ended(process))[0] == code
    assert len(rows(history, "one")) >= 3
    assert not history.with_name("history.db.lock").exists()


async def test_a_second_recorder_is_told_who_records(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        url = f"http://127.0.0.1:{port}"
        async with recording(history, url) as first:
            await until(lambda: count(history) > 0)
            async with recording(history, url) as second:
                code, err = await ended(second)
    assert code == 2
    assert f"is written by whisper-ops record (process {first.pid}, since" in err


async def test_trouble_is_said_once_and_so_is_its_end(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    # A poll asks for /snapshot, and then twice for /health whether it is of another make.
    bodies = [http(b"<html>", kind="text/html")] * 6 + [http(wire.encode(said(at=time.time() - 3600)))] * 1000
    answers = iter(bodies)
    async with (
        listening(answering(lambda: next(answers))) as port,
        recording(history, f"one=http://127.0.0.1:{port}", "--interval", "0.2") as process,
    ):
        await until(lambda: len([x for x in _safe_rows(history) if x.state == "live"]) > 2, 15)
        process.terminate()
        _, err = await ended(process)
    assert err.count("answered HTML, not JSON") == 1
    assert err.count("answers again after") == 1
    assert "2 polls failed" in err
    assert len(re.findall(r"the clock of one is 36\d\d s behind", err)) == 1
    assert {snapshot.state for snapshot in rows(history, "one")} == {"live", "silent"}


def _safe_rows(history: Path) -> list[Snapshot]:
    return rows(history, "one") if count(history) else []


async def test_systemd_hears_that_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    heard: list[bytes] = []
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.setblocking(False)  # the name says it
        asyncio.get_running_loop().add_reader(systemd, lambda: heard.append(systemd.recv(4096)))
        async with listening(answering(lambda: http(wire.encode(said())))) as port:
            words = (f"http://127.0.0.1:{port}", "--duration", "1.2")
            environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"}
            async with recording(tmp_path / "history.db", *words, **environment) as process:
                await ended(process)
        await until(lambda: b"STOPPING=1" in heard)
        asyncio.get_running_loop().remove_reader(systemd)
    assert heard[0].startswith(b"READY=1\nSTATUS=recording 127.0.0.1")
    assert sum(word.startswith(b"WATCHDOG=1") for word in heard) >= 3


@pytest.mark.slow
async def test_killed_again_and_again_it_loses_only_what_was_not_committed(tmp_path: Path) -> None:
    kills = int(os.environ.get("WHISPER_OPS_KILLS", "6"))
    history = tmp_path / "history.db"
    chance = random.Random(7)
    seen = 0
    async with listening(answering(lambda: http(wire.encode(said(gpus=8))))) as port:
        words = [f"s{i}=http://127.0.0.1:{port}" for i in range(4)]
        for _ in range(kills):
            async with recording(history, *words, "--interval", "0.1") as process:
                before = seen
                await until(lambda before=before: count(history) > before, 30)  # type: ignore[misc]  # mypy knows no default here
                await asyncio.sleep(chance.uniform(0, 0.3))
                seen = count(history)
                process.kill()
                await process.wait()
            connection = sqlite3.connect(history)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (stored,) = connection.execute("SELECT count(*) FROM server_sample").fetchone()
            (halves,) = connection.execute(
                "SELECT count(*) FROM server_sample AS s WHERE error IS NULL AND 8 != "
                "(SELECT count(*) FROM gpu_sample AS g WHERE g.server_id = s.server_id AND g.at = s.at)"
            ).fetchone()
            connection.close()
            assert stored >= seen  # what was committed is there
            assert halves == 0  # and nothing is there by halves
            seen = stored
    with History.reading(history) as opened:
        started = [event.at for event in opened.polls.events(0, 1e12) if event.kind == "recorder_started"]
        times = [snapshot.at for snapshot in opened.polls.between("s0", 0, 1e12)]
    assert len(started) == kills
    # Between a kill and the next start there is no row: the gap is a gap.
    for start in started[1:]:
        assert max(at for at in times if at < start) < start < min(at for at in times if at > start)
        assert start - max(at for at in times if at < start) > 0.1


async def test_alerts_reach_the_history_and_the_command(tmp_path: Path) -> None:
    history, heard = tmp_path / "history.db", tmp_path / "heard"
    rules = tmp_path / "rules.toml"
    rules.write_text('[alert."busy"]\nfigure = "slots_ratio"\nover = 0.1\nhold_seconds = 0\n')
    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        words = (f"one=http://127.0.0.1:{port}", "--alerts", str(rules), "--on-alert", f"tee -a {heard}")
        async with recording(history, *words, "--duration", "1", "--interval", "0.1") as process:
            code, err = await ended(process)
    assert code == 0, err
    assert err.count("alert started: one: busy: 25 %, over 10 %") == 1
    with History.reading(history) as opened:
        (alert,) = opened.polls.alerts(0, 1e12)
    assert (alert.rule, alert.server, alert.ended_at, alert.min_value, alert.max_value) == (
        "busy",
        "one",
        None,
        0.25,
        0.25,
    )
    assert heard.read_text().count('"event":"started"') == 1


def test_the_help_names_every_kind_of_server() -> None:
    text = record.command.help or ""
    missing = [kind for kind in KINDS if f" {kind}+" not in text.replace("\n", " ") and f"`{kind}`" not in text]
    assert missing == [WHISPER_OPS, "prometheus"], "no prefix, and one that takes a mapping file in whisper-ops.toml"
