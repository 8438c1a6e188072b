"""One impossible figure never stops the record: of a server, of an exporter, or in a history that has it already."""

import asyncio
import math
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dashboard.chart_data import step_seconds
from dashboard.config import load
from dashboard.fleet_state import FleetState
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring import recorder as recording
from dashboard.polling.poller import Pollers
from dashboard.replay.chart_reader import HistoryCharts
from dashboard.replay.feed import LiveFeed
from dashboard.tui.pages.chart import chart_columns, chart_lines
from dashboard.tui.pages.gpu_page import charts_of, gpu_page
from dashboard.tui.pages.server_page import charts_of as server_charts
from tests.dashboard.sockets import answering, http, listening, said, until
from whisper_ops import wire
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import AlertRecord, ChartQuery, EventRecord, History
from whisper_ops.history.polls import Polls
from whisper_ops.identity import Identity
from whisper_ops.plausible_ranges import possible
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

NOW = time.time() // 3600 * 3600 - 7200
NODE = (Path(__file__).parents[1] / "data" / "exporters" / "node-before.prom").read_bytes()

BIG = {
    "2^63": b"9223372036854775808",
    "2^64": b"18446744073709551616",
    "10^40": b"1" + b"0" * 40,
    "negative": b"-1",
    "1e308": b"1e308",
}


def replaced(name: bytes, number: bytes) -> bytes:
    """What a good server says, with another number in one place."""
    body = wire.encode(said())
    before, after = body.split(b'"%s":' % name, 1)
    end = min(index for index in (after.find(b","), after.find(b"}")) if index >= 0)
    return before + b'"%s":' % name + number + after[end:]


@asynccontextmanager
async def recorder(history: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "whisper_ops", "record", *words, "--history", str(history), "--interval", "0.2",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def live_polls(path: Path, server: str) -> list[Snapshot]:
    try:
        with History.reading(path) as history:
            return [snapshot for snapshot in history.polls.between(server, 0, 1e12) if snapshot.state == "live"]
    except (UserError, sqlite3.Error):
        return []  # it is just being made


async def test_hostile_numbers_of_many_servers_cost_no_poll_of_any_other(tmp_path: Path) -> None:
    """Every kind of number in every kind of place at once, an ordinary node exporter, and a good server beside them."""
    history = tmp_path / "history.db"
    places = (b"total_slots", b"gpu_id", b"total_completed_connections", b"cpu_count", b"total_memory_gb", b"timestamp")
    bodies = {
        f"{place.decode()}-{name}": replaced(place, number)
        for place in places
        for name, number in BIG.items()
        if place in wire.encode(said())
    }
    async with listening(answering(lambda: http(wire.encode(said())))) as good:
        words, stack = [f"good=http://127.0.0.1:{good}"], []
        for name, body in bodies.items():
            context = listening(answering(lambda body=body: http(body)))  # type: ignore[misc]  # the default binds
            stack.append(context)
            words.append(f"{name}=http://127.0.0.1:{await context.__aenter__()}")
        node = listening(answering(lambda: http(NODE, kind="text/plain")))
        stack.append(node)
        words.append(f"machine=node+http://127.0.0.1:{await node.__aenter__()}")
        async with recorder(history, *words) as process:
            await until(lambda: len(live_polls(history, "good")) > 5 and len(live_polls(history, "machine")) > 5, 60)
            process.terminate()
            _, err = await process.communicate()
        for context in stack:
            await context.__aexit__(None, None, None)
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
    assert b"descriptors_hard_limit 9.223e+18, which is no limit at all" in err
    with History.reading(history) as opened:
        remarks = [event for event in opened.polls.events(0, 1e12) if event.kind == "remark"]
    assert any("descriptors_hard_limit" in event.detail for event in remarks)


@pytest.mark.parametrize(
    "odd",
    [
        Snapshot(server="bad", at=NOW + 1, poll_seconds=2**70),
        Snapshot(server="bad", at=NOW + 1, poll_seconds={}),  # type: ignore[arg-type]  # what it must not be
        Snapshot(server="bad", at=math.nan),
        AlertRecord(rule="r", severity="s", server="bad", started_at=math.nan, sentence="never"),
        AlertRecord(rule="r", severity="s", server="bad", started_at=1.0, gpu_id=2**64, sentence="never"),
    ],
    ids=["number", "object", "no time", "NaN", "large id"],
)
def test_a_row_that_cannot_be_stored_is_set_aside_and_said_and_all_others_are_stored(tmp_path: Path, odd: Any) -> None:
    path = tmp_path / "history.db"
    told: list[str] = []
    with HistoryWriter(path, told.append, flush_seconds=60) as writer:
        for at in range(50):
            writer.put(Snapshot(server="good", at=NOW + at))
        writer.put(odd)
        writer.put(odd)
        for at in range(50, 100):
            writer.put(Snapshot(server="good", at=NOW + at))
        writer.put(EventRecord(at=NOW, server="good", kind="k", detail="once"))
        assert writer.flush()
    assert (writer.set_aside_total, writer.failure, writer.unwritten) == (2, None, 0)
    (sentence,) = told
    assert "is set aside" in sentence
    sentence.encode()
    with History.reading(path) as history:
        assert len(list(history.polls.between("good", 0, 1e12))) == 100
        events = history.polls.events(0, 1e12)
    assert [event.detail for event in events if event.kind == "k"] == ["once"]
    assert [event.kind for event in events if event.kind != "k"] == ["set_aside"]


class _Broken(HistoryWriter):
    """A writer with a fault of ours in it."""

    def _work(self) -> None:
        if self.written_total:
            raise RuntimeError("a fault of ours")
        super()._work()


async def test_a_writer_that_died_is_an_alert_and_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "HistoryWriter", _Broken)
    told: list[str] = []
    heard = tmp_path / "heard"
    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        watch = load([f"one=http://127.0.0.1:{port}"], interval=0.1)
        ours = recording.Recorder(watch, tmp_path / "history.db", told.append, on_alert=f"tee {heard}")
        code = await asyncio.wait_for(ours.run(None), 60)
    assert code == Exit.NO
    assert any("alert started: whisper-ops record: the writer of" in words for words in told), told
    assert '"rule":"history writer stopped"' in heard.read_text()


async def test_rows_that_never_reached_the_disk_are_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, *_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    async with listening(answering(lambda: http(wire.encode(said())))) as port:
        watch = load([f"one=http://127.0.0.1:{port}"], interval=0.1)
        told: list[str] = []
        ours = recording.Recorder(watch, tmp_path / "history.db", told.append)
        monkeypatch.setattr(Polls, "add", full)
        assert await asyncio.wait_for(ours.run(1.5), 60) == Exit.NO
    assert any("rows are lost" in words for words in told), told


def test_on_screen_a_writer_that_died_is_an_alert(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with _Broken(path, flush_seconds=0.01) as writer:
        live = LiveFeed(Pollers([]), writer, path)
        writer.put(Snapshot(server="one", at=NOW))
        deadline = time.monotonic() + 30
        while writer.alive:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        world = live.world()
        live.close()
    (alert,) = world.alerts
    assert (alert.rule, alert.until) == ("history writer stopped", None)
    assert "a fault of ours" in (world.trouble or "")


def old_history(path: Path) -> None:
    """A history with what an older version let in."""
    with History.writing(path) as history:
        polls = [
            Snapshot(
                server="one", at=NOW + at, figures=ServerFigures(lag_p95_seconds=0.5, streams_active=2),
                gpus=(GpuFigures(gpu_id=0, memory_used_bytes=2e9, memory_total_bytes=8e9, temperature_celsius=60),),
                host=HostFigures(open_descriptors=100),
            )
            for at in range(300)
        ]  # fmt: skip
        history.polls.add(polls)
        db = history.database.connection
        span = (NOW + 60, NOW + 180)
        db.execute(
            "UPDATE gpu_sample SET memory_used_bytes = 1e308, temperature_celsius = 1e308 WHERE at BETWEEN ? AND ?",
            span,
        )
        db.execute("UPDATE gpu_identity SET memory_total_bytes = 1e308")
        db.execute(
            "UPDATE server_sample SET lag_p95_seconds = 9e999, streams_active = 9223372036854775807 "
            "WHERE at BETWEEN ? AND ?",
            span,
        )
        db.execute("UPDATE host_sample SET open_descriptors = 9223372036854775807 WHERE at BETWEEN ? AND ?", span)


@pytest.mark.parametrize("rolled_up", [False, True])
def test_an_old_history_with_impossible_figures_is_drawn_rolled_up_and_replayed(
    tmp_path: Path, rolled_up: bool
) -> None:
    path = tmp_path / "history.db"
    old_history(path)
    with History.writing(path) as history:
        if rolled_up:
            assert history.polls.roll_up(NOW + 7200) > 0
        points = history.polls.chart(
            ChartQuery(server="one", metric="memory_used_bytes", kind="gpu"), NOW, NOW + 300, 60.0
        )
        assert points
        assert all(point.maximum == 2e9 for point in points)
        for snapshot in history.polls.between("one", 0, 1e12):
            assert snapshot == possible(snapshot)
            msgspec.json.encode(snapshot)
    board = FleetState()
    with History.reading(path) as history:
        for snapshot in history.polls.between("one", 0, 1e12):
            board.take(snapshot)
    world = board.world(NOW + 300)
    charts = (*charts_of(world, "one", 0), *server_charts(world, "one"))
    reader = HistoryCharts(path)
    for span in range(4):
        held = reader.read(charts, NOW + 300, span, 119)
        assert held.note is None
        assert step_seconds(chart_columns(119), span) >= 1
        for chart in charts:
            assert chart_lines(chart, held, 119, 4)
        assert gpu_page(world, "one", 0, held, 119).text
    reader.close()


@pytest.mark.parametrize("value", [1e308, math.inf, -math.inf, math.nan, -1.0, 2.0**63])
def test_every_figure_there_is_has_bounds(value: float) -> None:
    notes: list[tuple[str, str]] = []
    kinds: tuple[tuple[type[Any], str], ...] = (
        (ServerFigures, "figures"), (HostFigures, "host"), (GpuFigures, "gpus"), (Identity, "identity"),
    )  # fmt: skip
    for kind, part in kinds:
        numbers = [field.name for field in msgspec.structs.fields(kind) if field.type in {int | None, float | None}]
        assert numbers
        for name in numbers:
            figures = kind(**({"gpu_id": 0} if kind is GpuFigures else {}), **{name: value})
            told: Any = {part: (figures,) if kind is GpuFigures else figures}
            cleaned = possible(Snapshot(server="s", at=1.0, **told), lambda *note: notes.append(note))
            found = getattr(cleaned, part)
            left = getattr(found[0] if kind is GpuFigures else found, name)
            assert left is None or (name.endswith("_celsius") and value == -1.0), f"{kind.__name__}.{name} = {value}"
    assert notes
