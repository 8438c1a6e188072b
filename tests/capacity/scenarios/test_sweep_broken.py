"""`whisper-ops sweep` against servers that break: the exit code, one sentence, and a history that is whole.

All of them run at once, each in a process of its own, when the first test asks.
"""

import asyncio
import json
import sqlite3
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.capacity.commands.test_sweep_command import start
from tests.capacity.double import Faults, coded_corpus, running_double
from whisper_ops.history import History

pytestmark = pytest.mark.slow

EASY = "stable_p95<=2s, errors<=10%"


class Case(msgspec.Struct, kw_only=True):
    faults: Faults
    levels: tuple[int, ...]
    code: int
    sentence: str
    """On stdout or stderr."""
    state: str = "done"


CASES = {
    # A level of one stream sends 5 s of sound, one of two 5.25 s.
    "dies": Case(
        faults=Faults(die_after_seconds=5.15),
        levels=(1, 2),
        code=3,
        sentence="the sweep ended early: cannot reach 127.0.0.1:",
        state="failed",
    ),
    "hangs": Case(faults=Faults(stop_reading_after_seconds=1.0), levels=(2,), code=1, sentence="errors 100 % > 10 %"),
    "refuses": Case(faults=Faults(slots=0), levels=(2,), code=3, sentence="admitted no stream: No GPU", state="failed"),
    "nonsense": Case(
        faults=Faults(nonsense=True),
        levels=(2,),
        code=3,
        sentence="admitted no stream: not a message of the native protocol",
        state="failed",
    ),
    "never ready": Case(
        faults=Faults(never_ready=True), levels=(2,), code=3, sentence="not ready in 30 s", state="failed"
    ),
}


class Ran(msgspec.Struct, kw_only=True):
    code: int
    out: str
    err: str
    history: Path


async def sweep(case: Case, corpus: Path, history: Path) -> Ran:
    async with running_double(case.faults) as double:
        process = await start(
            *(
                "sweep",
                double.url,
                "--levels",
                ",".join(map(str, case.levels)),
                "--duration",
                "4",
                "--objective",
                EASY,
                "--no-warm-up",
            ),
            *("--corpus", str(corpus), "--history", str(history)),
        )
        out, err = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode is not None
    return Ran(code=process.returncode, out=out.decode(), err=err.decode(), history=history)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("broken"))
    corpus = coded_corpus(folder / "coded", words=3)

    async def all_of_them() -> dict[str, Ran]:
        done = await asyncio.gather(*(sweep(case, corpus, folder / f"{name}.db") for name, case in CASES.items()))
        return dict(zip(CASES, done, strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", CASES)
def test_a_broken_server_is_said_in_a_sentence_and_nothing_is_lost(name: str, ran: dict[str, Ran]) -> None:
    case, one = CASES[name], ran[name]
    assert one.code == case.code, one.err
    assert case.sentence in one.out + one.err
    assert "Traceback" not in one.err
    assert "exception was never retrieved" not in one.err
    with sqlite3.connect(one.history) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with History.reading(one.history) as history:
        (stored,) = history.sweeps.every()
        levels = history.sweeps.levels(stored.id)
        assert [level.streams for level in levels] == list(case.levels)
        assert stored.sweep.state == case.state
        assert not levels[-1].passed
        assert [len(history.sweeps.streams(stored.id, level.streams, level.repeat)) for level in levels] == list(
            case.levels
        )


async def test_a_generator_that_is_killed_ends_the_sweep_in_a_sentence(tmp_path: Path) -> None:
    corpus = coded_corpus(tmp_path / "coded")
    async with running_double() as double:
        process = await start(
            *("sweep", double.url, "--levels", "1,2", "--duration", "3", "--objective", EASY, "--no-warm-up"),
            *("--corpus", str(corpus), "--history", str(tmp_path / "h.db")),
        )
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 2"):
                    break
        (generator,) = psutil.Process(process.pid).children()
        generator.kill()
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "the sweep ended early: a load generator process ended unexpectedly" in err.decode()
    assert "Traceback" not in err.decode()
    assert out.decode().count("met (provisional)") == 1
    with History.reading(tmp_path / "h.db") as history:
        (stored,) = history.sweeps.every()
        assert (stored.sweep.state, len(history.sweeps.levels(stored.id))) == ("failed", 1)


async def test_a_resumed_sweep_shows_the_whole(tmp_path: Path) -> None:
    corpus = coded_corpus(tmp_path / "coded")
    page = tmp_path / "report.html"
    command = ("--levels", "1,3", "--duration", "3", "--objective", "wer<=+1.5", "--no-warm-up", "--html", str(page))
    files = ("--corpus", str(corpus), "--history", str(tmp_path / "h.db"))
    async with running_double(Faults(drop_every=12)) as double:
        process = await start("sweep", double.url, *command, *files)
        assert process.stderr is not None
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"level 2"):
                    break
            process.terminate()
            await process.communicate()
        assert process.returncode == 130
        process = await start("sweep", double.url, *command, *files, "--json")
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert "1 level measured already" in err.decode()
    document = json.loads(out)
    assert [level["streams"] for level in document["levels"]] == [1, 3]
    # The pictures have both levels, though one was measured by another process.
    shown = page.read_text()
    assert "1 stream</span>" in shown
    assert "3 streams</span>" in shown
    # What the utterances of the stored level are compared by.
    with History.reading(tmp_path / "h.db") as history:
        assert history.sweeps.utterances(document["sweep_id"], 1, 0)
