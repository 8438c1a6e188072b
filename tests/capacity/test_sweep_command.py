"""`whisper-ops sweep` and `corpus` as a user runs them: exit codes, JSON, Ctrl-C, sentences instead of tracebacks."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from tests.capacity.double import Faults, coded_corpus, running_double
from whisper_ops.history import History

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


async def test_a_search_finds_the_slots_and_prints_versioned_json(files: tuple[str, ...], tmp_path: Path) -> None:
    async with running_double(Faults(slots=2)) as double:
        extras = ("--html", str(tmp_path / "r.html"), "--transcripts", str(tmp_path / "texts"), "--json")
        # Three streams fail, two pass; the budget ends it before the edges are repeated.
        code, out, err = await run("sweep", double.url, "--search", "--max-levels", "3", *SHORT, *files, *extras)
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "whisper-ops/sweep/1"
    assert [level["streams"] for level in document["levels"]] == [1, 2, 6]
    assert document["conclusion"].startswith("the limit lies in [2, 6): 2 met the objective, 6 did not")
    assert "level 3 of up to 3: 6 streams" in err
    assert "<svg" in (tmp_path / "r.html").read_text()
    texts = sorted(path.name for path in (tmp_path / "texts").iterdir())
    assert len(texts) == 9
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
        (stored,) = history.sweeps()
        assert stored.sweep.state == "interrupted"
        assert history.levels(stored.id)[0].streams == 1


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
        (("127.0.0.1:9", "--duration", "0"), 2, "--duration 0 must be above 0"),
        (("127.0.0.1:9", "--objective", "fast"), 2, "cannot read the condition 'fast'"),
        (("127.0.0.1:9", "--duty-cycle", "2"), 2, "--duty-cycle 2"),
        (("127.0.0.1:9", "--soak", "8h"), 2, "--soak holds one level"),
        (("127.0.0.1:9", "--soak", "forever", "--levels", "2"), 2, "--soak 'forever'"),
        (("127.0.0.1:9", "--search", "--soak", "1h"), 2, "exclude each other"),
        (("127.0.0.1:9", "--protocol", "whisperlive", "--connect"), 2, "--connect belongs to the native protocol"),
        (("127.0.0.1:9", "--watch", "x=99999999"), 2, "there is no process 99999999"),
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
