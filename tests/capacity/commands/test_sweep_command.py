"""`whisper-ops sweep` and `corpus` as a user runs them: exit codes, JSON, Ctrl-C, sentences instead of tracebacks."""

import asyncio
import json
import os
import pty
import select
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from capacity.commands.sweep import _exit_code
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.made_levels import level, outcome
from whisper_ops.errors import Exit
from whisper_ops.history import History, LevelRecord

SHORT = ("--no-warm-up", "--duration", "1.5", "--objective", "stable_p95<=2s, connected>=99.9%")


async def start(*arguments: str) -> Process:
    command = (sys.executable, "-m", "whisper_ops", *arguments)
    environment = {**os.environ, "NO_COLOR": "1"}
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await start(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    corpus = coded_corpus(tmp_path / "coded", words=3)
    return ("--corpus", str(corpus), "--history", str(tmp_path / "h.db"))


async def test_it_ends_with_the_verdict_where_it_was_saved_and_the_next_command(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    async with running_double(Faults(slots=2)) as double:
        code, out, err = await run("sweep", double.url, *SHORT, *files)
        refused = await run("sweep", double.url, "--levels", "1,20,30", *SHORT, *files)
    assert code == 0, err
    # Of the usual levels none fits but the full server.
    assert "it has 2 slots, so the levels are 2" in err
    assert "2 streams met the objective, and no level failed" in out
    assert f"saved: sweep 1 in {tmp_path / 'h.db'}" in err
    assert f"next:  whisper-ops plan --history {tmp_path / 'h.db'}" in err
    assert refused[0] == 2
    assert "--levels 20,30: the server has 2 slots" in refused[2]
    assert "ask for 2 at most" in refused[2]


@pytest.mark.slow
async def test_a_search_within_a_time_ends_in_it(files: tuple[str, ...]) -> None:
    async with running_double(Faults(slots=3, says_slots=64)) as double:
        more = ("--no-warm-up", "--objective", "connected>=99%", "--json", *files)
        began = asyncio.get_running_loop().time()
        code, out, err = await run("sweep", double.url, "--search", "--within", "45s", *more)
        took = asyncio.get_running_loop().time() - began
    assert code == 0, err
    document = json.loads(out)
    levels = [level["streams"] for level in document["levels"]]
    assert levels[:2] == [1, 8]
    assert len(levels) <= 4
    assert "the limit lies in [" in document["conclusion"]
    assert "level 1 of about" in err
    assert took < 80


@pytest.mark.slow
async def test_a_search_finds_the_slots_and_prints_versioned_json(files: tuple[str, ...], tmp_path: Path) -> None:
    async with running_double(Faults(slots=2, says_slots=64)) as double:
        extras = ("--html", str(tmp_path / "r.html"), "--transcripts", str(tmp_path / "texts"), "--json")
        more = ("--output", str(tmp_path / "r.json"), "--watch", f"replica={double.url}")
        # Three streams fail, two pass; the budget ends it before the edges are held.
        code, out, err = await run("sweep", double.url, "--search", "--max-levels", "4", *SHORT, *files, *extras, *more)
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "whisper-ops/sweep/1"
    assert [level["streams"] for level in document["levels"]] == [1, 8, 3, 2]
    assert (
        "[2, 3): 2 met the objective, 3 did not; resolved, though 2 and 3 could not be held" in document["conclusion"]
    )
    assert "level 3 of up to 4: 3 streams" in err
    assert json.loads((tmp_path / "r.json").read_text()) == document
    assert len(document["watched"]["replica"]) > 1
    assert document["watched_summary"]["replica"]["memory_bytes"] == {"mean": 2e9, "peak": 2e9}
    one = next(row for row in document["transcripts"]["00.wav"] if row["outcome"] == "done")
    assert one["said"] == one["shown"] == "river bridge table"
    assert "<svg" in (tmp_path / "r.html").read_text()
    texts = sorted(path.name for path in (tmp_path / "texts").iterdir())
    assert len(texts) == 14
    assert "outcome: done" in (tmp_path / "texts" / texts[0]).read_text()


async def test_ctrl_c_keeps_what_is_done(files: tuple[str, ...], tmp_path: Path) -> None:
    async with running_double() as double:
        process = await start("sweep", double.url, "--levels", "1,2,3,4,5,6,7,8", *SHORT, *files)
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 2"):
                    break
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        assert process.returncode == 130, err.decode()
        # Its streams are gone with it.
        await asyncio.wait_for(double.empty.wait(), 5)
    assert "the same command goes on from here" in err.decode()
    assert out.decode().count("met (provisional)") >= 1
    with History.reading(tmp_path / "h.db") as history:
        (stored,) = history.sweeps.every()
        assert stored.sweep.state == "interrupted"
        assert history.sweeps.levels(stored.id)[0].streams == 1


async def test_two_sweeps_of_one_server_at_once(files: tuple[str, ...]) -> None:
    async with running_double() as double:
        levels = ("--levels", "1,2,3,4,5,6,7,8", *SHORT, *files)
        process = await start("sweep", double.url, *levels)
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 1"):
                    break
        same, other = await asyncio.gather(
            run("sweep", double.url, *levels), run("sweep", double.url, "--levels", "1", *SHORT, *files)
        )
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert same[0] == 2
    assert f"the same sweep of {double.url.partition('//')[2]} is running already (process {process.pid})" in same[2]
    # Another one is not forbidden, but it should be known.
    assert other[0] in (Exit.GOOD, Exit.EVIDENCE), other[2]  # which, the machine decides: three generators share it
    assert f"sweep 1 (process {process.pid}) loads {double.url.partition('//')[2]} too" in other[2]


async def test_a_closed_terminal_ends_the_sweep_and_keeps_what_is_done(files: tuple[str, ...], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    master, terminal = pty.openpty()
    command = ("--levels", "1,2,3,4,5,6,7,8", *SHORT, *files, "--html", str(page))
    async with running_double() as double:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _IN_TERMINAL, "sweep", double.url, *command),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        await asyncio.to_thread(_read_until, master, b"level 2 of 8")
        os.close(master)
        assert await asyncio.wait_for(process.wait(), 30) == 130
        await asyncio.wait_for(double.empty.wait(), 5)
    with History.reading(tmp_path / "h.db") as history:
        (stored,) = history.sweeps.every()
        assert stored.sweep.state == "interrupted"
        assert history.sweeps.levels(stored.id)[0].streams == 1
    assert "<svg" in page.read_text()


async def test_under_nohup_a_closed_terminal_means_nothing(files: tuple[str, ...]) -> None:
    async with running_double() as double:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _NOHUP, "sweep", double.url, "--levels", "1,2", *SHORT, *files),
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 2"):
                    break
        process.send_signal(signal.SIGHUP)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert out.decode().count("met (provisional)") == 2


async def test_results_are_shown_though_the_report_cannot_be_written(files: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    page = ("--html", str(folder / "r.html"))
    async with running_double() as double:
        code, _, err = await run("sweep", double.url, "--levels", "1", *SHORT, *files, *page)
        assert (code, err.count("\n")) == (2, 1), "known before the first level"
        assert f"there is no folder {folder}; make it, or name another" in err
        folder.mkdir()
        process = await start("sweep", double.url, "--levels", "1", *SHORT, *files, *page, "--json")
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readline(), 60)
        folder.rmdir()
        out, rest = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert json.loads(out)["levels"][0]["streams"] == 1
    assert "cannot write the report" in rest.decode()
    assert "Traceback" not in rest.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
async def test_on_a_full_disk_it_is_said_where_the_results_are(files: tuple[str, ...]) -> None:
    async with running_double() as double:
        full = os.open("/dev/full", os.O_WRONLY)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "whisper_ops", "sweep", double.url, "--levels", "1", *SHORT, *files, "--json"),
            stdout=full,
            stderr=PIPE,
        )
        os.close(full)
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "No space left on device; they are kept as sweep 1 in the history" in err.decode()
    assert "Traceback" not in err.decode()


async def test_what_was_watched_and_ended_is_said(files: tuple[str, ...]) -> None:
    watched = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE)
    async with running_double() as double:
        process = await start("sweep", double.url, "--levels", "1,2", *SHORT, *files, "--watch", f"app={watched.pid}")
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 2"):
                    break
        watched.terminate()
        await watched.wait()
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert f"--watch app: process {watched.pid} ended " in err.decode()


async def test_speech_that_is_too_long_for_the_streams_is_said_at_once(tmp_path: Path) -> None:
    files = ("--history", str(tmp_path / "h.db"))
    long = coded_corpus(tmp_path / "long", clips=2, words=12)
    async with running_double() as double:
        code, out, err = await run("sweep", double.url, "--corpus", str(long), "--levels", "1", *SHORT, *files)
        assert (code, out) == (2, "")
        assert "lasts 4.2 s, and a stream says whole clips of at most 2.5 s" in err
        for name in ("00.wav", "00.txt", "00.words.json"):
            shutil.copy(coded_corpus(tmp_path / "short", clips=1, words=3) / name, long)
        code, _, err = await run("sweep", double.url, "--corpus", str(long), "--levels", "1", *SHORT, *files)
    assert code == 0, err
    assert "1 of 2 clips are longer than the 2.5 s of a stream, and are never said" in err


_AS_COMMAND = "import sys; from whisper_ops.cli import run; run(sys.argv[1:])"
_IN_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_AS_COMMAND}"
_NOHUP = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {_AS_COMMAND}"


def _read_until(master: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, seen
        seen += os.read(master, 65536)


@pytest.mark.slow
async def test_a_missed_objective_is_exit_1_and_comparing_says_no(files: tuple[str, ...]) -> None:
    history = files[2:]
    async with running_double() as good:
        code, _, err = await run("sweep", good.url, "--levels", "1", *SHORT, *files)
        assert code == 0, err
    async with running_double(Faults(delay_seconds=0.6)) as slow:
        objective = ("--objective", "stable_p95<=0.4s")
        code, out, _ = await run(
            "sweep", slow.url, "--levels", "1", "--no-warm-up", "--duration", "1.5", *objective, *files
        )
        assert code == 1
        assert "✗ missed" in out
    code, out, err = await run("sweep", "compare", "1", "2", *history)
    assert code == 1, err
    assert "✗ worse" in out
    code, out, _ = await run("sweep", "compare", "1", "1", *history, "--json")
    assert code == 0
    assert json.loads(out)["worse"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("127.0.0.1:9", "--levels", "1"), 3, "cannot reach 127.0.0.1:9"),
        (("127.0.0.1:9", "--levels", "five"), 2, "--levels 'five' must be numbers of streams"),
        (("127.0.0.1:9", "--duration", "0"), 2, "'0' is out of range: above 0 s"),
        (("127.0.0.1:9", "--objective", "fast"), 2, "cannot read the condition 'fast'"),
        (("127.0.0.1:9", "--duty-cycle", "2"), 2, "--duty-cycle 2"),
        (("127.0.0.1:9", "--soak", "8h"), 2, "--soak holds one level"),
        (("127.0.0.1:9", "--soak", "forever", "--levels", "2"), 2, "'forever' is no length of time"),
        (("127.0.0.1:9", "--search", "--soak", "1h"), 2, "exclude each other"),
        (("127.0.0.1:9", "--protocol", "whisperlive", "--connect"), 2, "--connect belongs to the native protocol"),
        (("127.0.0.1:9", "--watch", "x=99999999"), 2, "there is no process 99999999"),
        (("127.0.0.1:9", "--html", "/none/r.html"), 2, "there is no folder /none"),
        (("127.0.0.1:9", "--transcripts", "/dev/null/t"), 2, "no file can be made in /dev/null"),
        (("ftp://host",), 2, "no server address"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(
    arguments: tuple[str, ...], code: int, sentence: str, files: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    from whisper_ops.cli import run as command_line

    with pytest.raises(SystemExit) as ended:
        command_line(["sweep", *arguments, *files])
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ([level(1), level(2, passed=False)], Exit.GOOD),
        ([level(1, passed=None, audit="invalid"), level(2, passed=False)], Exit.NO),
        ([level(1, passed=None, audit="invalid"), level(2, passed=None, audit="disturbed")], Exit.EVIDENCE),
        ([], Exit.EVIDENCE),
    ],
)
def test_a_sweep_without_evidence_is_not_a_missed_objective(levels: list[LevelRecord], code: Exit) -> None:
    assert _exit_code(outcome(*levels)) == code


def test_a_corpus_is_shown_with_what_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from whisper_ops.cli import run as command_line

    folder = coded_corpus(tmp_path / "coded", clips=2)
    (folder / "bad.wav").write_bytes(b"no sound")
    (folder / "bad.txt").write_text("bad\n")
    with pytest.raises(SystemExit) as ended:
        command_line(["corpus", "show", str(folder), "--json"])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "whisper-ops/corpus/1"
    assert [clip["name"] for clip in shown["clips"]] == ["00", "01"]
    assert "bad.wav" in shown["unreadable"][0]
