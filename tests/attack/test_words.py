"""A hostile name through every output there is: on a screen, in a pipe, in files that root copies and people open."""

import asyncio
import csv
import io
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from capacity.commands.plan import TARGETS
from capacity.protocols import StreamFailed, StreamRefused, TextShown
from dashboard.alerts import Alert, AlertChange, load_rules
from dashboard.alerts.notifications import Notifier
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.widgets.sheet import Sheet
from dashboard.world import World
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import Done, whisper_ops
from tests.dashboard.scenes import gpu, snapshot
from whisper_ops.history import AlertRecord, EventRecord, History
from whisper_ops.history.row_export import TIMES
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, Snapshot
from whisper_ops.untrusted_text import NAME_LIMIT, name, one_line

WORDS = {
    "all of it": (
        "=A100[/nope]\x1b]0;o\x07\n[Service]\nExecStart=/bin/evil\u202e<script>x</script>[x](http://evil)|"
        "`$(touch owned)`\\"
    ),
    "terminal": "A100\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[2J\x9b31m\u202egpj\u2066x\0y\x7f",
    "markup": "A100[/nope][bold]x[/bold][link=http://evil]y[/link]:smile:[@click=app.quit]z[/]",
    "lines": "large\nExecStartPre=/bin/evil\r\n[Service]\nExecStart=/bin/evil\u2028  - alert: evil\x85kernel.panic = 1",
    "formula": '=HYPERLINK("http://evil","x")',
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&</svg></title>",
    "markdown": "# [x](http://evil) ![y](http://evil/p.png) <http://evil> ``` | > **z**",
    "shell": "$(touch owned) `touch owned`; touch owned # %n %%h \\",
    "long": "z" * 5000,
}
EVIL = re.compile(r"^\s*(?:ExecStart(?:Pre)?=/bin/evil|- alert: evil|kernel\.panic)", re.MULTILINE)


ONE_BY_ONE = [
    pytest.param(words, id=kind, marks=[] if kind == "all of it" else [pytest.mark.slow])
    for kind, words in WORDS.items()
]


def printable(text: str) -> None:
    """Nothing in it that a terminal obeys, that turns the text round, or that breaks a line."""
    odd = sorted({character for line in text.split("\n") for character in line if not character.isprintable()})
    assert not odd, odd


def shown(done: Done) -> Done:
    printable(done.out)
    printable(done.err)
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    return done


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(f"@{key}" for key, _ in attrs)}


def harmless_html(file: Path) -> None:
    text = file.read_text("utf-8")
    printable(text)
    tags = Tags()
    tags.feed(text)
    assert not tags.found & {"script", "img", "a", "iframe", "link", "object", "base"}
    assert not {found for found in tags.found if found.startswith("@on") or found in {"@href", "@src"}}


def harmless_markdown(text: str) -> None:
    printable(text)
    assert not re.search(r"(?<!\\)(?:<(?!=)|\]\(|!\[)", text), text


def harmless_configuration(target: str, text: str, folder: Path) -> None:
    printable(text)
    assert not EVIL.search(text)
    settings = [line for line in text.splitlines() if line and not line.startswith("#")]
    match target:
        case "systemd":
            assert all(
                re.fullmatch(r"\[Service\]|ExecStart=(/usr/local/bin/[\w %./-]+)?|\w+=\d+", line) for line in settings
            )
            assert settings.count("[Service]") == 1
        case "sysctl":
            assert all(re.fullmatch(r"net\.[\w.]+ = [\d ]+", line) for line in settings)
        case "server":
            (command,) = settings
            assert shlex.split(command)[:2] == ["whisper-ops", "serve"]
            subprocess.run(["sh", "-n"], input=text, text=True, check=True)
        case "cloudwatch":
            assert set(json.loads(text)) == {"whisper_ops", "agent", "metrics", "logs"}
        case "kubernetes" | "keda":
            kind = {"kubernetes": "Deployment", "keda": "ScaledObject"}[target]
            assert [one["kind"] for one in yaml.safe_load_all(text)] == [kind]
        case "prometheus-rules":
            assert [line.split()[2] for line in settings if "alert:" in line] == [
                "WhisperOpsOverSafeLimit", "WhisperOpsAtLimit", "WhisperOpsLagOverObjective", "WhisperOpsRejecting",
            ]  # fmt: skip
            if shutil.which("promtool"):
                (folder / "rules.yml").write_text(text)
                subprocess.run(["promtool", "check", "rules", folder / "rules.yml"], check=True, capture_output=True)


def harmless_csv(text: str) -> None:
    printable(text)
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert not cell.startswith(("=", "@", "\t")) or not cell, cell
            assert not cell.startswith(("+", "-")) or re.fullmatch(r"[+-][\d.e+-]+", cell), cell


def poisoned(path: Path, words: str) -> Path:
    """A history that somebody made: every text in it is theirs, past all that cleans what we write."""
    written(path, [level(n, passed=n < 20) for n in (1, 4, 8, 12, 16, 20, 24)])
    at = 1795871234.0
    with History.writing(path) as history:
        history.polls.add(
            [snapshot("asr", at + n, (gpu(0, 3, 0.4), gpu(1, 4, 0.5))) for n in range(3)],
            [EventRecord(at=at, server="asr", kind="version", detail="x")],
            [AlertRecord(rule="r", severity="critical", server="asr", started_at=at, sentence="s")],
        )
    with sqlite3.connect(path) as raw:
        for table, columns in (
            ("sweep", ("server", "software", "version", "engine", "model", "compute_type", "gpu_name", "corpus")),
            ("level", ("reason",)), ("server", ("name",)), ("event", ("server", "detail", "kind")),
            ("alert", ("server", "rule", "sentence")),
            ("server_identity", ("software", "version", "model")), ("gpu_identity", ("name", "uuid")),
            ("host_identity", ("hostname",)),
        ):  # fmt: skip
            for column in columns:
                raw.execute(f"UPDATE {table} SET {column} = ?", [words])
    raw.close()
    return path


@pytest.mark.parametrize("words", ONE_BY_ONE)
def test_a_hostile_name_goes_through_every_output_there_is(
    words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    _of_a_live_server(capfd, tmp_path, words)
    _of_a_history(capfd, poisoned(tmp_path / "theirs.db", words), tmp_path)
    _of_a_file(capfd, tmp_path, words)
    assert not (tmp_path / "owned").exists()


def _of_a_live_server(capfd: pytest.CaptureFixture[str], folder: Path, words: str) -> None:
    corpus, history = coded_corpus(folder / "corpus", clips=2), folder / "ours.db"
    with serving(words) as url:
        shown(whisper_ops(capfd, "dash", url, "--once"))
        json.loads(shown(whisper_ops(capfd, "dash", url, "--json")).out)
        shown(whisper_ops(capfd, "check", url, "--yes"))
        json.loads(shown(whisper_ops(capfd, "check", url, "--yes", "--json")).out)
        level_of = ("--levels", "1", "--duration", "2", "--no-warm-up", "--fresh", "--corpus", str(corpus))
        files = ("--html", str(folder / "sweep.html"), "--transcripts", str(folder / "texts"))
        shown(whisper_ops(capfd, "sweep", url, *level_of, *files, "--history", str(history)))
        shown(whisper_ops(capfd, "record", url, "--duration", "1", "--history", str(history)))
    harmless_html(folder / "sweep.html")
    for file in (folder / "texts").rglob("*"):
        printable(file.read_text("utf-8") if file.is_file() else "")
    _exported(capfd, history)
    with History.reading(history) as stored:
        for row in stored.database.rows(
            "SELECT name, uuid FROM gpu_identity UNION ALL SELECT model, version FROM sweep"
        ):
            printable("".join(str(value) for value in row.values()))


def _of_a_history(capfd: pytest.CaptureFixture[str], history: Path, folder: Path) -> None:
    where = ("--history", str(history))
    planned = shown(whisper_ops(capfd, "plan", *where))
    assert planned.code == 0, planned.err
    json.loads(shown(whisper_ops(capfd, "plan", *where, "--json")).out)
    harmless_markdown(shown(whisper_ops(capfd, "plan", *where, "--markdown")).out)
    shown(whisper_ops(capfd, "plan", *where, "--html", str(folder / "plan.html")))
    harmless_html(folder / "plan.html")
    for target in TARGETS:
        done = shown(whisper_ops(capfd, "plan", *where, "--emit", target))
        harmless_configuration(target, done.out, folder)
    shown(whisper_ops(capfd, "history", "info", *where))
    json.loads(shown(whisper_ops(capfd, "history", "info", *where, "--json")).out)
    shown(whisper_ops(capfd, "sweep", "compare", "1", "1", *where))
    _exported(capfd, history)


def _exported(capfd: pytest.CaptureFixture[str], history: Path) -> None:
    for table in TIMES:
        harmless_csv(shown(whisper_ops(capfd, "export", table, "--history", str(history))).out)
        lines = shown(whisper_ops(capfd, "export", table, "--history", str(history), "--format", "jsonl")).out
        assert all(isinstance(json.loads(line), dict) for line in lines.splitlines())


def _of_a_file(capfd: pytest.CaptureFixture[str], folder: Path, words: str) -> None:
    quoted = '"' + words.replace('"', '""').replace("\0", "") + '"'
    rows = "\n".join(f"{n},{n * 9.5},{0.1 * n},{quoted}" for n in (1, 2, 4, 8, 16, 32, 64))
    (folder / "rows.csv").write_text(f"n,throughput,latency,{quoted}\n{rows}\n", "utf-8", newline="")
    for arguments in (
        ("fit", "rows.csv", "--x", "n", "--y", "throughput"),
        ("import", "rows.csv", "--map", f"at=n,streams_active={words}", "--server", words),
        ("plan", "--host-profile", words),
        ("dash", words, "--once"),
        ("doctor", "--history", words),
        (words,),
    ):
        if not any("\0" in argument for argument in arguments):
            shown(whisper_ops(capfd, *arguments))
    title = json.dumps(words[:60])
    profile = folder / "host.json"
    profile.write_text(
        f'{{"title": {title}, "host": {{"cores": 24, "memory": "64 GB", "descriptors_soft": 1024}},'
        ' "per_call": {"cpu": "3-8 %", "memory": "15-30 MB", "descriptors": 5}}'
    )
    paper = ("plan", "--host-profile", str(profile))
    if shown(whisper_ops(capfd, *paper)).code != 0:  # such a title may be refused as well
        assert not words.isprintable()
        return
    harmless_markdown(shown(whisper_ops(capfd, *paper, "--markdown")).out)
    shown(whisper_ops(capfd, *paper, "--html", str(folder / "paper.html")))
    harmless_html(folder / "paper.html")
    for target in ("systemd", "sysctl"):
        harmless_configuration(target, shown(whisper_ops(capfd, *paper, "--emit", target)).out, folder)


class serving:  # noqa: N801  # used as a function
    """A double whose every word is hostile, in a loop of its own."""

    def __init__(self, words: str) -> None:
        self._faults = Faults(slots=2, words=words, delay_seconds=0.01)

    def __enter__(self) -> str:
        import threading

        self._loop, self._over = asyncio.new_event_loop(), asyncio.Event()
        ready: list[str] = []
        started = threading.Event()

        async def main() -> None:
            async with running_double(self._faults) as double:
                ready.append(double.url)
                started.set()
                await self._over.wait()

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(main()))
        self._thread.start()
        assert started.wait(20)
        return ready[0]

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)


# --- the screen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ONE_BY_ONE)
async def test_every_page_of_the_screen_shows_a_hostile_name_as_text(words: str, tmp_path: Path) -> None:
    live = LiveFeed(Pollers([]), None, poisoned(tmp_path / "theirs.db", words), load_rules())
    hostile = msgspec.json.decode(
        msgspec.json.encode(snapshot("asr", 0.0, (gpu(0, 3, 0.4), gpu(1, 4, 0.5)))), type=Snapshot
    )
    app = DashApp(live, history=tmp_path / "theirs.db")
    async with app.run_test(size=(120, 40)) as pilot:
        for at in range(60):
            live.take(
                msgspec.structs.replace(
                    hostile,
                    server=words,
                    at=1795871234.0 + at,
                    identity=Identity(software=words, model=words, version=words, gpu_name=words),
                    gpus=tuple(
                        msgspec.structs.replace(one, name=words, uuid=words, state="failed") for one in hostile.gpus
                    ),
                )
            )
        live.take(Snapshot(server=words, at=1795871300.0, state="silent", error=words))
        for key in (
            "1",
            "enter",
            "enter",
            "escape",
            "escape",
            "2",
            "3",
            "4",
            "5",
            "6",
            "question_mark",
            "colon",
            "escape",
        ):
            await pilot.press(key)
            await pilot.pause()
            seen = [strip.text for strip in app.screen._compositor.render_strips()]
            assert not [line for line in seen if not line.isprintable()]
        live.refresh()
        assert isinstance(live.world(), World)


def test_the_painter_is_the_last_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came past every border: a string that is drawn is only text."""
    from dashboard.tui.pages.styled_lines import Line, TextSpan

    sheet = Sheet()
    monkeypatch.setattr(sheet._painter, "_style", lambda *_, **__: None)
    monkeypatch.setattr(type(sheet), "rich_style", None)
    strip = sheet._painter.strip(Line((TextSpan(WORDS["terminal"] + WORDS["lines"]),)), 200)
    assert strip.text.isprintable()


# --- others who are told ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
async def test_a_command_of_an_alert_gets_words_that_it_can_use(words: str, tmp_path: Path) -> None:
    server = Snapshot(server=words, at=0.0).server
    alert = Alert(
        rule="server silent", severity="critical", server=server, since=0.0, value=6.0, minimum=6.0, mean=6.0,
        maximum=6.0, sentence=f"{server}: no answer",
    )  # fmt: skip
    script, out, said = tmp_path / "tell.py", tmp_path / "out", list[str]()
    script.write_text(
        f"import os, sys\nopen({str(out)!r}, 'w').write(os.environ['WHISPER_OPS_ALERT_SERVER'] + sys.stdin.read())\n"
    )
    notifier = Notifier(said.append, command=f"{sys.executable} {script}")
    notifier.put(AlertChange("started", alert))
    telling = asyncio.create_task(notifier.run())
    await notifier.drain(30)
    telling.cancel()
    assert said == []
    printable(out.read_text())


@pytest.mark.parametrize("kind", [StreamRefused, StreamFailed])
def test_what_a_server_says_to_a_stream_is_a_sentence(kind: Any) -> None:
    reason = kind(WORDS["terminal"] + WORDS["lines"] + WORDS["long"]).reason
    assert reason.isprintable()
    assert len(reason) <= 1000


def test_transcripts_keep_their_letters_and_lose_what_is_none() -> None:
    text = "نمی‌خواهم क्‍ष 你好 café"  # joiners are letters there
    assert TextShown(text, "").committed == text
    assert TextShown("a\x1b[2Jb\nc", "d\u202ee") == TextShown("a�[2Jb c", "d�e")


def test_cleaning_is_short_of_nothing_and_done_once() -> None:
    assert len(name(WORDS["long"])) == NAME_LIMIT
    for words in WORDS.values():
        once = one_line(words)
        assert once == one_line(once)
        assert once.isprintable()
    for ordinary in ("NVIDIA H100 80GB HBM3", "large-v3-turbo", "Größe → 3 µs · ½", "模型-大"):
        assert name(ordinary) == ordinary
    assert GpuFigures(gpu_id=0, name="a\nb").name == "a b"
    assert msgspec.structs.replace(GpuFigures(gpu_id=0), name="a\nb").name == "a b"
    assert msgspec.json.decode(b'{"gpu_id":0,"name":"\\u001b[2J"}', type=GpuFigures).name == "�[2J"


def test_a_lone_surrogate_is_written_nowhere() -> None:
    assert name("a\ud800b") == "a�b"
    assert os.fsdecode(b"x\xff") != name(os.fsdecode(b"x\xff"))
