"""The parts around a sweep: plans, early stops, arrivals, watching, comparing, addresses."""

import io
import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.arrivals import offsets, ramp_seconds
from capacity.loadgen.live_lag import LiveLag
from capacity.loadtest.compare import compare
from capacity.loadtest.level_request import LevelAnswer
from capacity.loadtest.process_watch import parse_watch
from capacity.loadtest.search import SearchLimits
from capacity.loadtest.strategies import LevelList, SearchStrategy, Soak
from capacity.loadtest.target import parse_target
from capacity.reports.compare_table import table
from tests.capacity.made_levels import SWEEP, level
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord, SweepRecord, UtteranceRecord

# --- plans ---------------------------------------------------------------------------------------------


def test_a_list_of_levels_goes_in_order_and_skips_what_is_known() -> None:
    plan = LevelList([5, 10, 20])
    plan.add(LevelAnswer(10, passed=True))
    asked = []
    while (ask := plan.next()) is not None:
        asked.append(ask.streams)
        plan.add(LevelAnswer(ask.streams, passed=None))
    assert asked == [5, 20]


def test_a_search_says_its_bracket_in_a_sentence() -> None:
    plan = SearchStrategy(SearchLimits())
    while (ask := plan.next()) is not None:
        plan.add(LevelAnswer(ask.streams, ask.streams <= 3, ask.kind == "adaptive"))
    assert plan.conclusion == "the limit lies in [3, 4): 3 met the objective, 4 did not; resolved"
    assert plan.levels_left is not None


def test_a_search_that_found_nothing_says_so() -> None:
    plan = SearchStrategy(SearchLimits())
    plan.add(LevelAnswer(1, passed=False, adaptive=True))
    assert (plan.conclusion or "").startswith("not even 1 stream met the objective")


def test_a_soak_asks_once_for_all_its_time() -> None:
    plan = Soak(7, 150.0)
    ask = plan.next()
    assert ask is not None
    assert (ask.streams, ask.kind, ask.seconds) == (7, "soak", 150.0)
    # One stream first, where the objective counts from it.
    plan.add(LevelAnswer(1, passed=True))
    assert plan.next() == ask
    plan.add(LevelAnswer(7, passed=True))
    assert plan.next() is None


def test_following_knows_how_far_the_text_is_behind() -> None:
    words = ["the", "cat", "sat", "on", "the", "mat", "all", "day"]
    spoken = [SpokenWord(word, float(k + 1)) for k, word in enumerate(words)]
    follower = LiveLag(spoken)
    assert follower.behind("", 0.5) == 0
    assert follower.behind("", 3.5) == pytest.approx(2.5)
    assert follower.behind("The cat sat", 3.5) == 0
    # A wrong last word hides nothing before it.
    assert follower.behind("The cat sat on the mad", 6.5) == pytest.approx(0.5)
    assert follower.behind("the cat sat on the mat all day", 60.0) == 0


# --- arrivals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrivals", ["spread", "burst", "poisson"])
def test_everybody_arrives_within_the_ramp(arrivals: str) -> None:
    ramp = ramp_seconds(40, 60, arrivals)
    found = offsets(40, ramp, arrivals, seed=3)
    assert len(found) == 40
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] <= ramp
    assert (len(set(found)) == 1) == (arrivals == "burst")


# --- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "protocol", "socket"),
    [
        ("host:8000", "native", "ws://host:8000/ws"),
        ("http://host:8000/", "native", "ws://host:8000/ws"),
        ("https://host", "whisperlivekit", "wss://host/asr"),
        ("ws://host:9090", "whisperlive", "ws://host:9090/"),
        ("ws://host:8000/custom?x=1", "native", "ws://host:8000/custom?x=1"),
    ],
)
def test_addresses_are_read_as_people_write_them(written: str, protocol: str, socket: str) -> None:
    target = parse_target(written, protocol)
    assert target.ws == socket
    assert target.name == written.rsplit("//", maxsplit=1)[-1].split("/", maxsplit=1)[0]


@pytest.mark.parametrize("nonsense", ["ftp://host", "http://", "http://host:port"])
def test_no_address_is_named(nonsense: str) -> None:
    with pytest.raises(UserError, match="no server address"):
        parse_target(nonsense)
    with pytest.raises(UserError, match="there are native, whisperlive, whisperlivekit"):
        parse_target("host", "telepathy")


# --- watching ------------------------------------------------------------------------------------------


async def test_a_process_is_watched_with_its_children() -> None:
    watch = parse_watch(f"me={os.getpid()}")
    reading = await watch._read()
    assert watch.name == "me"
    assert reading is not None
    assert reading.memory_bytes > 1e6


@pytest.mark.parametrize("text", ["me", "=1", "me=", "me=99999999", "me=no/such/group"])
def test_what_cannot_be_watched_is_named(text: str) -> None:
    with pytest.raises(UserError, match="--watch"):
        parse_watch(text)


# --- comparing -----------------------------------------------------------------------------------------


def history(tmp_path: Path, *sweeps: tuple[SweepRecord, list[LevelRecord]]) -> History:
    store = History.writing(tmp_path / "h.db")
    for sweep, levels in sweeps:
        number = store.sweeps.start(sweep)
        for one in levels:
            store.sweeps.add_level(msgspec.structs.replace(one, sweep_id=number))
    return store


def test_the_same_again_is_not_worse(tmp_path: Path) -> None:
    levels = [level(5), level(10, 0.9)]
    store = history(tmp_path, (SWEEP, levels), (SWEEP, [level(5, 0.52), level(10, 0.95)]))
    compared = compare(store, 1, 2, worse_by=0.1)
    assert not compared.worse
    assert (compared.limit_a, compared.limit_b) == (10, 10)


def test_a_slower_level_is_worse_and_named(tmp_path: Path) -> None:
    store = history(tmp_path, (SWEEP, [level(5), level(10)]), (SWEEP, [level(5), level(10, 2.6, passed=False)]))
    compared = compare(store, 1, 2, worse_by=0.1)
    assert compared.reasons == ("stable_p95 at 10: 0.50 s → 2.60 s", "10 streams passed before, and fail")
    assert (compared.limit_a, compared.limit_b) == (10, 5)
    shown = table(compared).renderables[-1]
    assert str(shown) == "✗ worse: stable_p95 at 10; passed before, and fails: 10 streams"


def test_invalid_levels_are_no_evidence_for_figures(tmp_path: Path) -> None:
    store = history(tmp_path, (SWEEP, [level(5)]), (SWEEP, [level(5, 0.1, audit="invalid", passed=False)]))
    assert compare(store, 1, 2, worse_by=0.1).reasons == ("5 streams passed before, and fail",)


def utterances(*errors: int) -> list[UtteranceRecord]:
    return [UtteranceRecord(clip=f"clip {k}", words=8, errors=wrong) for k, wrong in enumerate(errors)]


def test_a_few_word_errors_more_are_not_worse_and_it_is_said(tmp_path: Path) -> None:
    store = History.writing(tmp_path / "h.db")
    for said in (utterances(0, 0, 0, 0, 0, 0), utterances(0, 2, 0, 0, 0, 0), utterances(2, 2, 1, 3, 2, 2)):
        number = store.sweeps.start(SWEEP)
        wer = sum(one.errors for one in said) / 48
        store.sweeps.add_level(msgspec.structs.replace(level(5, wer_ratio=wer), sweep_id=number), utterances=said)
    luck, surely = compare(store, 1, 2, worse_by=0.1), compare(store, 1, 3, worse_by=0.1)
    assert not luck.worse
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(luck))
    assert "? wer at 5: too few words to judge (48, about " in console.export_text()
    assert surely.reasons == ("wer at 5: 0.0 % → 25.0 %",)


@pytest.mark.parametrize(
    ("other", "levels", "reason"),
    [
        ({"corpus": "other@2"}, [level(5)], "corpus"),
        ({"chunk_seconds": 0.2}, [level(5)], "chunk_seconds"),
        ({}, [level(7)], "no usable level in common"),
        ({}, [level(5, partials_per_second=0.5)], "equal cadence"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, other: dict[str, object], levels: list[LevelRecord], reason: str
) -> None:
    changed = msgspec.convert({**msgspec.structs.asdict(SWEEP), **other}, SweepRecord)
    store = history(tmp_path, (SWEEP, [level(5)]), (changed, levels))
    with pytest.raises(UserError, match=reason) as caught:
        compare(store, 1, 2, worse_by=0.1)
    assert caught.value.code == Exit.EVIDENCE


def test_a_sweep_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep 9"):
        compare(history(tmp_path, (SWEEP, [level(5)])), 1, 9, worse_by=0.1)
