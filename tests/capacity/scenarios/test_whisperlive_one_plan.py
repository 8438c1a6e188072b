"""A WhisperLive server is one server: its sweep, the polls of its metrics at another port, its plan and its gauge."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import load
from capacity.loadtest.level import LoadShape
from capacity.loadtest.persistence import record_for, settings_for
from capacity.loadtest.samples import level_samples
from capacity.loadtest.target import open_source, parse_target, poll_once
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from dashboard.planned_limits import planned_limit_of
from dashboard.polling.server_list import from_argument
from dashboard.polling.sources.factory import make
from tests.capacity.double import coded_corpus
from tests.capacity.plan_history import level
from tests.dashboard.polling.test_source_exporters import page
from tests.dashboard.sockets import answering, http, listening
from whisper_ops.errors import UserError
from whisper_ops.history import History
from whisper_ops.objective import parse
from whisper_ops.plan.plan_records import read, record_of
from whisper_ops.snapshot import Snapshot

LOADS = (3, 4, 5, 6, 7)
MADE_AT = 10_000.0


async def polled(loads: tuple[int, ...] = LOADS, host: str = "127.0.0.1") -> list[Snapshot]:
    """Polls of the exporter's own text, as `dash whisperlive+http://…` makes them, with other numbers of streams."""
    texts = iter(
        [page("whisperlive-before").replace("connections_active 3.0", f"connections_active {load}.0") for load in loads]
    )
    async with listening(answering(lambda: http(next(texts).encode(), kind="text/plain"))) as port:
        source = make(from_argument(f"whisperlive+http://{host}:{port}"))
        read = [await source.read() for _ in loads]
        await source.close()
    return [msgspec.structs.replace(poll, at=2000.0 + 60 * number) for number, poll in enumerate(read)]


def swept(history: History, folder: Path, url: str = "ws://127.0.0.1:9090") -> None:
    """A sweep as `sweep URL --protocol whisperlive` leaves it: the server says nothing of itself."""
    target, shape = parse_target(url, "whisperlive"), LoadShape()
    silent = Snapshot(server=target.name, at=1.0, state="silent", error="has no /snapshot")
    corpus, objective = load(coded_corpus(folder / "coded", clips=2)), parse("stable_p95<=2s")
    sweep = record_for(target, corpus, shape, objective, silent, settings_for("levels", shape, silent))
    sweep_id = history.sweeps.start(msgspec.structs.replace(sweep, started_at=1000.0, state="done"))
    for one in (level(4, passed=True), level(8, passed=False)):
        history.sweeps.add_level(msgspec.structs.replace(one, sweep_id=sweep_id))


async def test_a_sweep_and_its_polls_end_in_one_plan_that_the_gauge_shows(tmp_path: Path) -> None:
    polls = await polled()
    with History.writing(tmp_path / "history.db") as history:
        swept(history, tmp_path)
        history.polls.add(polls)
        plan = make_plan(history, EvidenceRequest(), MADE_AT)
        history.plans.add(record_of(plan))
        plans = [read(record) for record in history.plans.every()]
    assert (plan.server, plan.key.software, plan.key.protocol) == ("127.0.0.1:9090", "whisperlive", "whisperlive")
    assert (plan.capacity.last_pass, plan.capacity.first_fail) == (4, 8)
    assert plan.polled_peak == max(LOADS), "the polls of its metrics' port are its polls"
    assert plan.polled_seconds == pytest.approx(60.0 * (len(LOADS) - 1), abs=0.1)
    knee = planned_limit_of(polls[-1], plans)
    assert knee is not None
    assert (knee.per_gpu, knee.plan.server) == (plan.max_connections_per_gpu, "127.0.0.1:9090")
    assert "WhisperLive" in plan.key.title


@pytest.mark.parametrize("spelling", ["WhisperLive", "whisperlive", "Whisper-Live"])
async def test_a_sweep_that_an_older_version_stored_meets_them_too(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        swept(history, tmp_path)
        history.polls.add(await polled())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE sweep SET software = ?", [spelling])
    with History.reading(path) as history:
        plan = make_plan(history, EvidenceRequest(), MADE_AT)
    assert (plan.key.software, plan.polled_peak) == ("whisperlive", max(LOADS))


@pytest.mark.parametrize("spelling", ["WhisperLive", "Whisper Live"])
async def test_a_plan_that_an_older_version_stored_is_on_the_gauge(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "history.db"
    polls = await polled()
    with History.writing(path) as history:
        swept(history, tmp_path)
        history.plans.add(record_of(make_plan(history, EvidenceRequest(), MADE_AT)))
    with sqlite3.connect(path) as db:
        db.execute(
            'UPDATE plan SET software = ?, body = replace(body, \'"software":"whisperlive"\', ?)',
            [spelling, f'"software":"{spelling}"'],
        )
        (body,) = db.execute("SELECT body FROM plan").fetchone()
    assert spelling in body
    with History.reading(path) as history:
        knee = planned_limit_of(polls[-1], [read(record) for record in history.plans.every()])
    assert knee is not None


async def test_polls_that_may_be_of_either_of_two_servers_on_a_machine_are_of_neither(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        swept(history, tmp_path)
        swept(history, tmp_path, "ws://127.0.0.1:9092")
        history.polls.add(await polled())
        plan = make_plan(history, EvidenceRequest(server="127.0.0.1:9090"), MADE_AT)
    assert plan.polled_peak == 0


async def test_polls_of_another_machine_are_not_its(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        swept(history, tmp_path, "ws://asr-2:9090")
        history.polls.add(await polled())
        assert make_plan(history, EvidenceRequest(), MADE_AT).polled_peak == 0


async def test_what_the_exporter_prints_is_read_and_its_chunk_time_is_no_lag() -> None:
    texts = iter([page("whisperlive-before"), page("whisperlive-after")])
    async with listening(answering(lambda: http(next(texts).encode(), kind="text/plain"))) as port:
        source = make(from_argument(f"whisperlive+http://127.0.0.1:{port}"))
        first, second = (await source.read()).figures, (await source.read()).figures
        await source.close()
    assert first is not None
    assert second is not None
    assert (first.streams_active, first.accepted_total, first.rejected_total, first.failed_total) == (3, 4, 3, 1)
    assert (second.streams_active, second.accepted_total) == (4, 5)
    assert second.final_p95_seconds == pytest.approx(0.95)  # ten of them to 0.25 s, ten to 1 s, by its buckets
    assert second.lag_p95_seconds is None


async def test_a_sweep_that_is_told_where_its_metrics_are_keeps_what_they_say() -> None:
    texts = iter([page("whisperlive-before"), page("whisperlive-after")])
    heads: list[bytes] = []
    async with listening(answering(lambda: http(next(texts).encode(), kind="text/plain"), heads)) as port:
        metrics = f"127.0.0.1:{port}"
        target = parse_target("ws://h:9090", "whisperlive", token="secret", metrics=metrics)
        async with open_source(target) as source:
            polls = [await poll_once(source), await poll_once(source)]
    found = level_samples(polls)
    assert [poll.server for poll in polls] == ["h:9090"] * 2
    assert polls[0].identity is not None
    assert polls[0].identity.software == "whisperlive"
    assert found.server_rss_bytes == pytest.approx(2.5e7, rel=0.1)
    assert found.server_lag_p95_seconds is None
    assert not any(b"secret" in head for head in heads)


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ("dcgm+http://h:9400", "write KIND\\+URL, where KIND is one of .*vllm, .*whisperlive"),
        ("gopher+http://h:1", "write KIND\\+URL"),
        ("whisperlive+ftp://h:1", "is no address of a page"),
        ("http://h:port", "is no address of a page"),
    ],
)
def test_metrics_that_cannot_be_a_servers_are_a_sentence(metrics: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_target("ws://h:9090", "whisperlive", metrics=metrics)
