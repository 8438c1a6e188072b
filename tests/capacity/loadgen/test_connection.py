"""A sweep of a server that takes no streams ends at once, in a sentence; it asks for one stream twice at most."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response

from capacity.corpus.clips import Corpus, load
from capacity.loadgen.connection import connect_failure
from capacity.loadgen.stream_outcome import StreamEnd, StreamOutcome, connection_lost
from capacity.loadgen.two_step_connect import NoTokenError
from capacity.loadtest.admission import no_stream_admitted
from capacity.loadtest.level import LoadShape
from capacity.loadtest.level_request import LevelAnswer
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.search import SearchLimits
from capacity.loadtest.strategies import BASELINE, BASELINE_TRIES, BaselineFirst, LevelList, SearchStrategy, Strategy
from capacity.loadtest.target import parse_target
from tests.capacity.double import Double, Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord
from whisper_ops.objective import DEFAULT, parse

SHAPE = LoadShape(seconds=1.5, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load(coded_corpus(Path(tmp_path_factory.mktemp("speech")) / "coded"))


class Meddler(Quiet):
    """A watcher that changes the server under the sweep."""

    def __init__(self, double: Double) -> None:
        super().__init__()
        self.double = double
        self.after_a_level: dict[str, bool | int] = {}
        self.in_a_pause: dict[str, bool | int] = {}

    def end(self, level: LevelRecord) -> None:
        super().end(level)
        self._change(self.after_a_level)

    def pause(self, what: str, at_most_seconds: float) -> None:
        super().pause(what, at_most_seconds)
        self._change(self.in_a_pause)

    def _change(self, faults: dict[str, bool | int]) -> None:
        self.double.faults = msgspec.structs.replace(self.double.faults, **faults)


async def sweep(
    double: Double,
    corpus: Corpus,
    folder: Path,
    *levels: int,
    watcher: Quiet | None = None,
    token: str | None = None,
    objective: str = DEFAULT,
    **shape: float,
) -> SweepOutcome:
    target, one = parse_target(double.url, token=token), msgspec.structs.replace(SHAPE, **shape)
    with History.writing(folder / "h.db") as store:
        run = Sweep(store, target, corpus, one, parse(objective), watcher or Quiet(), SweepOptions(processes=1))
        async with asyncio.timeout(45):
            return await run.run(LevelList(levels))


@pytest.mark.parametrize(
    ("faults", "token", "sentence"),
    [
        (Faults(draining=True), None, "is draining and admits no streams"),
        (Faults(token="right"), None, "needs a token: give it with --token-file FILE"),
        (Faults(token="right"), "wrong", "does not take this token: give it with --token-file FILE"),
    ],
    ids=["draining", "no token", "wrong token"],
)
async def test_a_shut_door_is_a_sentence_before_anything_is_measured(
    faults: Faults, token: str | None, sentence: str, corpus: Corpus, tmp_path: Path
) -> None:
    async with running_double(faults) as double:
        with pytest.raises(UserError, match=sentence) as caught:
            await sweep(double, corpus, tmp_path, 2, token=token)
    assert caught.value.code == Exit.UNREACHABLE
    with History.reading(tmp_path / "h.db") as store:
        assert not store.sweeps.every()


async def test_the_right_token_opens(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(token="right")) as double:
        outcome = await sweep(double, corpus, tmp_path, 1, token="right", objective="stable_p95<=2s")
    assert outcome.state == "done"
    assert outcome.levels[0].connected == 1


async def test_nobody_let_in_ends_it_after_one_baseline(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(slots=0)) as double:
        outcome = await sweep(double, corpus, tmp_path, 2)
    assert [level.streams for level in outcome.levels] == [1]
    assert (outcome.state, outcome.unreachable) == ("failed", True)
    assert "admitted no stream: No GPU resources available" in (outcome.reason or "")


async def test_a_baseline_without_a_word_error_rate_is_measured_twice_and_no_more(
    corpus: Corpus, tmp_path: Path
) -> None:
    # It lets the stream in and sends it away before the first word was said.
    async with running_double(Faults(leave_after_seconds=0.05)) as double:
        outcome = await sweep(double, corpus, tmp_path, 2)
    assert [level.streams for level in outcome.levels] == [1] * BASELINE_TRIES
    assert (outcome.state, outcome.unreachable) == ("failed", False)
    assert "one stream gave no word error rate in 2 tries" in (outcome.reason or "")


async def test_a_server_that_begins_to_drain_ends_the_sweep_with_what_it_has(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double() as double:
        watcher = Meddler(double)
        watcher.after_a_level = {"draining": True}
        outcome = await sweep(double, corpus, tmp_path, 1, 2, 3, watcher=watcher)
    assert [(level.streams, level.connected) for level in outcome.levels] == [(1, 1), (2, 0)]
    assert outcome.unreachable
    assert "is draining" in (outcome.reason or "")


async def test_a_stream_refused_while_the_server_is_to_come_up_again_is_not_called_behind(
    corpus: Corpus, tmp_path: Path
) -> None:
    async with running_double(Faults(slots=1, says_slots=4)) as double:
        watcher = Meddler(double)
        watcher.in_a_pause = {"slots": 0}
        await sweep(double, corpus, tmp_path, 2, 3, watcher=watcher, objective="stable_p95<=2s", cool_seconds=8)
    assert watcher.notes == ["the server admitted no stream: No GPU resources available"]


@pytest.mark.parametrize("plan", [LevelList([2, 3]), LevelList([1, 2]), SearchStrategy(SearchLimits(first=2))])
def test_whatever_fails_a_baseline_is_asked_for_twice_at_most(plan: Strategy) -> None:
    asking = BaselineFirst(plan, lambda: False)
    asked = []
    for _ in range(BASELINE_TRIES):
        ask = asking.next()
        assert ask is not None
        asked.append(ask)
        asking.add(LevelAnswer(ask.streams, None))
    with pytest.raises(UserError, match="in 2 tries") as caught:
        asking.next()
    assert caught.value.code == Exit.NO
    assert [ask.streams for ask in asked] == [1] * BASELINE_TRIES
    assert asked[-1].purpose == BASELINE


def test_a_known_stream_is_not_asked_for() -> None:
    ask = BaselineFirst(LevelList([2]), lambda: True).next()
    assert ask is not None
    assert ask.streams == 2


def closed(code: int, reason: str) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, reason), None)


@pytest.mark.parametrize(
    ("ending", "wants_token"),
    [
        (connection_lost(closed(1008, "this server needs a token")), True),
        (connection_lost(closed(1008, "")), True),
        (connection_lost(closed(1013, "1008 callers are before you")), False),
        (connection_lost(closed(1011, "upstream said HTTP 401")), False),
        (connect_failure(InvalidStatus(Response(401, "Unauthorized", Headers())), 3), True),
        (connect_failure(InvalidStatus(Response(500, "HTTP 401", Headers())), 3), False),
        (connect_failure(NoTokenError("/connect answered HTTP 401"), 3), True),
        (connect_failure(ConnectionError("port 1008 is closed"), 3), False),
    ],
)
async def test_whether_a_token_was_turned_away_is_no_matter_of_words(ending: StreamOutcome, wants_token: bool) -> None:
    assert ending.wants_token is wants_token
    kept = StreamEnd()
    kept.remark = "the token was not sent: /connect names another host"
    kept.set(ending)
    assert kept.reached.result().wants_token is False


async def test_what_a_server_says_of_numbers_is_not_taken_for_a_refused_token(corpus: Corpus, tmp_path: Path) -> None:
    async with running_double(Faults(slots=0)) as double:
        target = parse_target(double.url)
        said = await no_stream_admitted(target, "room 1008 is full, HTTP 401", wants_token=False)
        token = await no_stream_admitted(target, "connection lost (1008)", wants_token=True)
    assert "room 1008 is full" in str(said)
    assert "needs a token" in str(token)
