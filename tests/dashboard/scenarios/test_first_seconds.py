"""What is on the screen in the first seconds: which servers, the frame at once, sparklines and charts that fit."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from dashboard.chart_data import SPANS, Chart, fitting_span
from dashboard.config import WatchConfig, load
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.monitor import Monitor
from dashboard.polling.default_servers import DEFAULT_URL, known_servers
from dashboard.polling.poller import Pollers
from dashboard.polling.server_list import ServerEntry, from_argument
from dashboard.replay.chart_reader import HistoryCharts
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from tests.dashboard.scenes import gpu, silence, snapshot
from tests.dashboard.tui.piloting import screen_text
from tests.support.servers import free_port, whisper_ops
from whisper_ops.errors import UserError
from whisper_ops.history import ChartQuery, History, ReachedRecord
from whisper_ops.history.records import SweepRecord

NOW = time.time()


def watched(path: Path, *servers: ServerEntry, at: float = NOW) -> None:
    """A history as a dashboard over these servers leaves it, each of which was silent."""
    fleet = WatchConfig(servers=list(servers)).fleet()
    with HistoryWriter(path) as writer:
        monitor = Monitor(fleet, writer, path)
        for server in servers:
            monitor.take(silence(f"{server.label}/10.0.0.1" if server.replicas else server.label, at))
        monitor.end()


def test_without_a_name_the_servers_of_the_history_are_opened_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    named = [
        from_argument("fra=https://asr-1.example:8443"),
        from_argument("127.0.0.1:18931"),
        from_argument("pods=dns+http://asr.default.svc:8000"),
        from_argument("gpus=dcgm+http://asr-1:9400"),
        from_argument("local"),
    ]
    watched(path, *named)
    watch = load(history=path)
    assert sorted(watch.servers, key=lambda one: one.label) == sorted(named, key=lambda one: one.label)
    assert watch.default_reason == f"no server was named: watching the 5 servers of {path}"
    assert load(["asr-9:8000"], history=path).default_reason is None


def test_a_history_keeps_no_token_and_believes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.db"
    monkeypatch.setenv("SECRET", "do-not-tell")
    watched(path, msgspec.structs.replace(from_argument("one=http://asr-1:8000"), token_env="SECRET"))
    assert b"SECRET" not in b"".join(part.read_bytes() for part in tmp_path.glob("history.db*"))
    evil = msgspec.json.encode(ServerEntry(url="http://evil:1", name="one", token_env="SECRET")).decode()
    with History.writing(path) as history:
        history.polls.add(reached=[ReachedRecord(server="one", reached_by=evil)])
    (server,) = known_servers(path).servers
    assert (server.url, server.token_env) == ("http://evil:1", None)


@pytest.mark.parametrize("reached_by", ["", "{", '{"url": 3}', '{"url": "http://u:p@h"}', "[" * 10_000, "null"])
def test_an_address_that_cannot_be_read_is_passed_over(tmp_path: Path, reached_by: str) -> None:
    path = tmp_path / "history.db"
    watched(path, from_argument("one=http://asr-1:8000"), from_argument("two=http://asr-2:8000"))
    with History.writing(path) as history:
        history.polls.add(reached=[ReachedRecord(server="one", reached_by=reached_by)])
    assert [server.label for server in known_servers(path).servers] == ["two"]


def test_of_an_older_history_a_name_that_is_an_address_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        history.polls.add([silence("asr-1:8000", NOW), silence("fra", NOW), silence("asr-old:8000", NOW - 40 * 86400)])
    assert [server.label for server in known_servers(path).servers] == ["asr-1:8000"], "what is long gone is gone"


def test_a_server_that_was_only_load_tested_is_known(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        for minute, server in enumerate(("asr-1:8000", "asr-2:8000")):
            history.sweeps.start(
                SweepRecord(
                    server=server, started_at=NOW + 60 * minute, state="done", software="whisper-ops",
                    protocol="native", chunk_seconds=0.1, duty_cycle=1.0, arrivals="even", corpus="made",
                    objective="lag_p95<=2s", settings="{}", simulated=False,
                )
            )  # fmt: skip
    assert [server.label for server in known_servers(path).servers] == ["asr-2:8000"]


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_without_a_history_it_is_this_machine_and_what_may_run_on_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "history.db"
    if content is not None:
        path.write_bytes(content)
    known = known_servers(path)
    assert [server.label for server in known.servers] == ["local", "127.0.0.1:8000"]
    assert known.servers[1].url == DEFAULT_URL
    with pytest.raises(UserError, match="name at least one server"):
        load()


def test_what_nobody_named_is_not_remembered_and_a_slip_of_the_finger_neither(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    chosen = load(history=path)
    with HistoryWriter(path) as writer:
        monitor = Monitor(chosen.fleet(), writer, path)
        for server in chosen.servers:
            monitor.take(silence(server.label, NOW))
        monitor.end()
    assert load(history=path).servers == chosen.servers, "again the default, and not the history's"
    watched(path, from_argument("asr-1:8000"), from_argument("asr-l:8000"))
    with HistoryWriter(path) as writer:
        writer.put(snapshot("asr-1:8000", NOW + 1, (gpu(0, 1, 0.1),)))
    assert [server.label for server in load(history=path).servers] == ["asr-1:8000"], "asr-l never answered"


def test_a_script_that_names_nothing_is_told_what_was_chosen(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    watched(history, from_argument(f"gone=127.0.0.1:{free_port()}"))
    done = whisper_ops("dash", "--once", "--history", str(history), timeout=60)
    assert done.returncode == 3
    assert "no server was named: watching the 1 server of" in done.stderr
    assert "gone" in done.stdout


def on_a_terminal(folder: Path, *arguments: str, until: bytes, blocked: str | None, seconds: float = 30.0) -> bytes:
    """What `dash` writes to a terminal until a sign comes, while the import of a package never ends."""
    if blocked is not None:
        (folder / blocked).mkdir()
        (folder / blocked / "__init__.py").write_text("import time\ntime.sleep(600)\n", "utf-8")
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm-256color", "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(folder)}
        os.chdir(folder)
        os.execvp(sys.executable, [sys.executable, "-m", "whisper_ops", "dash", *arguments])
    text, deadline = b"", time.monotonic() + seconds
    try:
        while until not in text:
            assert time.monotonic() < deadline, text[-2000:]
            if select.select([terminal], [], [], 0.2)[0]:
                text += os.read(terminal, 65536)
        if blocked is not None:
            os.write(terminal, b"zzz")
            assert not select.select([terminal], [], [], 0.3)[0], "what is typed too early is not echoed over the frame"
        return text
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


@pytest.mark.parametrize("blocked", ["textual", "httpx"])
def test_the_frame_is_there_before_anything_heavy_is_loaded(tmp_path: Path, blocked: str) -> None:
    text = on_a_terminal(
        tmp_path, "fra=http://asr-1:8000", "whisperlive+http://asr-2:9090", until=b"q quit", blocked=blocked
    ).decode()
    for said in ("whisper-ops", "fleet", "fra", "asr-2:9090", "waiting", "lag p95", "q quit"):
        assert said in text
    assert "\x1b[?1049h" in text, "on a screen of its own"


def test_a_mistake_that_shows_late_is_read_on_the_terminal_as_it_was(tmp_path: Path) -> None:
    text = on_a_terminal(tmp_path, "asr-1:8000", "--token-file", "none", until=b"token file", blocked=None).decode()
    assert text.index("\x1b[?1049l") < text.index("cannot read the token file")


def test_importing_the_frame_loads_nothing_heavy() -> None:
    code = "import sys, dashboard.tui.first_frame; sys.exit(bool({'textual', 'httpx', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sparklines_begin_with_the_history(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", time.time()
    with History.writing(path) as history:
        history.polls.add(
            snapshot("one", now - 280 + 20 * step, (gpu(0, 7, 0.1 * step), gpu(1, 3, 0.05))) for step in range(13)
        )
    live = LiveFeed(
        WatchConfig(servers=[from_argument("one=asr-1:8000"), from_argument("new=asr-2:8000")]).fleet(), None, path
    )
    live.fleet_state.take(snapshot("one", now, (gpu(0, 7, 3.0), gpu(1, 3, 0.05))))
    while live.refresh():
        pass
    server = live.world().server("one")
    assert server is not None
    known = [value for value in server.lag if value is not None]
    assert len(known) >= 8, server.lag
    assert known[-1] == 3.0, "the newest is what was polled"
    assert known[:-2] == sorted(known[:-2]), "and those before what the history has"
    assert len([value for value in server.gpu_lag[1].lag if value is not None]) >= 8
    live.close()


@pytest.mark.parametrize(
    ("minutes", "span"), [(0.1, "5 min"), (4, "5 min"), (6, "15 min"), (20, "1 h"), (59, "1 h"), (600, "1 h")]
)
def test_the_first_span_fits_the_data_there_is(tmp_path: Path, minutes: float, span: str) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        every = max(1.0, minutes * 60 / 50)
        at, polls = NOW - minutes * 60, []
        while at <= NOW:
            polls.append(snapshot("one", at, (gpu(0, 7, 0.4),)))
            at += every
        history.polls.add(polls)
    chart = Chart(title="lag", query=ChartQuery(server="one", metric="lag_p95_seconds"))
    charts = HistoryCharts(path)
    assert SPANS[charts.read([chart], NOW, None, 120).span][0] == span
    assert charts.read([chart], NOW, 4, 120).span == 4, "what somebody chose stays"
    charts.close()


def test_a_span_that_fits_is_never_longer_than_the_usual_one() -> None:
    assert [fitting_span(seconds) for seconds in (0, 300, 301, 900, 901, 10_000_000)] == [0, 0, 1, 1, 2, 2]


async def test_the_span_on_screen_follows_the_data_until_somebody_chooses(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", time.time()
    with History.writing(path) as history:
        history.polls.add(snapshot("one", now - 100 + second, (gpu(0, 7, 0.4),)) for second in range(100))
    live = LiveFeed(Pollers([]), None, path)
    live.take(snapshot("one", now, (gpu(0, 7, 0.4),)))
    app = DashApp(live, history=path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "the last 5 min" in screen_text(pilot)
        chosen = [app.state.span]
        await pilot.press("right_square_bracket")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "the last 15 min" in screen_text(pilot)
        chosen.append(app.state.span)
    assert chosen == [None, 1], "what nobody chose is not kept"
    live.close()
