"""A history does not depend on the command that recorded it: `dash` and `record`, row for row."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from dashboard.alerts import load_rules
from dashboard.config import WatchConfig
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.recorder import Recorder
from dashboard.polling.poller import Emit, Gone, Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from tests.dashboard.sockets import Answer, http, listening, said
from whisper_ops import wire
from whisper_ops.errors import Exit
from whisper_ops.history import History, Retention
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource
from whisper_ops.snapshot_client.source import Source

_STEPS = 30
_STEP_SECONDS = 10.0
_TIMED_BY_THE_MACHINE = {"poll_seconds", "applied_at"}
"""How long an answer took, and when the file was made, differ from run to run, whoever asks."""


class Script:
    """What each server of the fleet says at each step, and which moment that is."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.step = 0

    def now(self) -> float:
        return self.began + self.step * _STEP_SECONDS

    def busy(self) -> bytes:
        """Calm, full, late, draining, two GPUs fewer, started again with another version and more slots."""
        full, late, drains = 4 <= self.step < 10, 6 <= self.step < 14, 14 <= self.step < 17
        word = said(at=self.now(), active=4 if full else 1, completed=self.step, gpus=1 if 17 <= self.step < 20 else 2)
        status = "critical" if full else "draining" if drains else "healthy"
        latency = wire.Latency(lag_p95_s=7.5 if late else 0.4, lag_bucket_counts=(1, 2, 3))
        restarted = self.step >= 20
        word = msgspec.structs.replace(
            word,
            health=msgspec.structs.replace(word.health, status=status),
            performance=msgspec.structs.replace(word.performance, latency=latency),
            version="1.3.0" if restarted else "1.2.3",
            server_id="second" if restarted else "first",
            started_at=self.began + (200 if restarted else -1000),
        )
        if 22 <= self.step < 26:
            broken = tuple(
                msgspec.structs.replace(gpu, state="failed", gpu_utilization_percent=None)
                for gpu in word.gpu_status.gpus[:1]
            )
            rest = word.gpu_status.gpus[1:]
            word = msgspec.structs.replace(
                word, gpu_status=msgspec.structs.replace(word.gpu_status, gpus=broken + rest)
            )
        return http(wire.encode(word))

    def shaky(self) -> bytes | None:
        """Nonsense, impossible figures (which are remarks), nothing at all, and good answers between."""
        if self.step in {3, 4}:
            return http(b"<html>proxy</html>", kind="text/html")
        if 9 <= self.step < 13:
            return None
        word = wire.encode(said(at=self.now() - (600 if self.step >= 16 else 0), completed=self.step))
        return http(word.replace(b'"cpu_ratio":0.25', b'"cpu_ratio":1e308') if self.step == 6 else word)

    def replica(self) -> bytes | None:
        """There until step 15."""
        return http(wire.encode(said(at=self.now(), gpus=1))) if self.step < 15 else None


def _by_script(answer: Callable[[], bytes | None]) -> Answer:
    """One answer of the moment a request; without one the connection ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            body = answer()
            if body is None:
                return
            writer.write(body)
            await writer.drain()

    return serve


class Replicas:
    """A name that leads to a server until step 15."""

    name = "asr.example"

    def __init__(self, script: Script, url: str) -> None:
        self._script, self._url = script, url

    async def find(self) -> dict[str, Callable[[], Source]]:
        if self._script.step >= 15:
            return {}
        return {"10.0.0.3": lambda: WhisperOpsSource(self._url, name="asr/10.0.0.3")}


class ScriptedFleet(Pollers):
    """Real pollers, sources and sockets; only the pace is the script's: one poll of each server a step."""

    def __init__(self, script: Script, urls: dict[str, str]) -> None:
        self._script = script
        super().__init__(
            [WhisperOpsSource(urls["busy"], name="busy"), WhisperOpsSource(urls["shaky"], name="shaky")],
            [Replicas(script, urls["replica"])],
        )
        self.over = asyncio.Event()

    async def run(self, emit: Emit, gone: Gone | None = None) -> None:
        self._gone = gone
        for self._script.step in range(_STEPS):
            for snapshot in await self.once():
                emit(snapshot)
        self.over.set()
        await self.close()


class ScriptedWatch(WatchConfig, frozen=True, kw_only=True):
    made: Pollers

    def fleet(self) -> Pollers:
        return self.made


async def _under_record(fleet: ScriptedFleet, path: Path, script: Script) -> None:
    script.step = 0
    recorder = Recorder(ScriptedWatch(servers=[], made=fleet), path, lambda _: None, clock=script.now)
    # It ends by itself only with the script.
    assert await recorder.run(None) is Exit.GOOD


async def _under_dash(fleet: ScriptedFleet, path: Path, script: Script) -> None:
    script.step = 0
    with HistoryWriter(path, command="whisper-ops dash") as writer:
        live = LiveFeed(fleet, writer, path, load_rules(None), clock=script.now)
        app = DashApp(live, history=path)
        async with app.run_test(size=(80, 24)) as pilot:
            await asyncio.wait_for(fleet.over.wait(), 60)
            await pilot.pause()
        live.close()


def _tables(path: Path, now: float) -> Iterator[tuple[str, list[str]]]:
    with History.writing(path) as history:
        history.polls.roll_up(now + 7200)
        history.polls.prune(now + 7200, Retention())
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for name in names:
            kept = [
                {key: row[key] for key in row.keys() if key not in _TIMED_BY_THE_MACHINE}  # noqa: SIM118  # a Row iterates over its values
                for row in db.execute(f"SELECT * FROM {name}")
            ]
            yield name, sorted(repr(row) for row in kept)


async def test_dash_and_record_leave_equal_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(time.time() - 3600)
    monkeypatch.setattr(time, "time", script.now)
    async with (
        listening(_by_script(script.busy)) as busy,
        listening(_by_script(script.shaky)) as shaky,
        listening(_by_script(script.replica)) as replica,
    ):
        urls = {"busy": f"http://127.0.0.1:{busy}", "shaky": f"http://127.0.0.1:{shaky}"}
        urls["replica"] = f"http://127.0.0.1:{replica}"
        await _under_record(ScriptedFleet(script, urls), tmp_path / "record.db", script)
        await _under_dash(ScriptedFleet(script, urls), tmp_path / "dash.db", script)
    recorded = dict(_tables(tmp_path / "record.db", script.now()))
    seen = dict(_tables(tmp_path / "dash.db", script.now()))
    assert recorded.keys() == seen.keys()
    for name, rows in recorded.items():
        assert seen[name] == rows, name
    events = "\n".join(recorded["event"])
    for kind in (
        *("recorder_started", "recorder_stopped", "silent", "answers", "remark", "gone"),
        *("restart", "drain", "version", "failed", "works"),
    ):
        assert f"'kind': '{kind}'" in events, f"the script shows no {kind}"
    assert len(recorded["alert"]) >= 4, "alerts began and ended"
    assert any("'ended_at': None" not in alert for alert in recorded["alert"])
