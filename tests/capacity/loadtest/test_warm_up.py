"""Warming a server up before the first level, and waiting for one that was missed: with doubles, in real time."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import Corpus, load
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelList
from capacity.loadtest.target import parse_target
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from whisper_ops.history import History
from whisper_ops.objective import parse

SHAPE = LoadShape(seconds=1.5, setup_seconds=3, drain_seconds=2, warm_up_seconds=12, cool_seconds=8)


class Ran(msgspec.Struct, kw_only=True):
    outcome: SweepOutcome
    watcher: Quiet
    accepted: int

    @property
    def warm_up(self) -> dict[str, float | str | bool | None] | None:
        settings: dict[str, dict[str, float | str | bool | None] | None] = json.loads(self.outcome.sweep.settings)
        return settings["warm_up"]


async def sweep(corpus: Corpus, faults: Faults, history: Path, objective: str, *levels: int, **shape: float) -> Ran:
    watcher = Quiet()
    async with running_double(faults) as double:
        with History.writing(history) as store:
            one = msgspec.structs.replace(SHAPE, **shape)
            run = Sweep(
                store, parse_target(double.url), corpus, one, parse(objective), watcher, SweepOptions(processes=1)
            )
            outcome = await run.run(LevelList(levels))
            assert store.sweeps.every()[0].sweep.settings == outcome.sweep.settings
    return Ran(outcome=outcome, watcher=watcher, accepted=double.accepted)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("probes"))
    corpus = load(coded_corpus(folder / "coded"))
    good = "stable_p95<=1s"

    async def all_of_them() -> dict[str, Ran]:
        names = ("cold", "mute", "full", "off", "slow")
        done = await asyncio.gather(
            sweep(corpus, Faults(cold_seconds=4), folder / "cold.db", good, 3),
            sweep(corpus, Faults(silent=True), folder / "mute.db", good, 1, warm_up_seconds=3),
            sweep(corpus, Faults(slots=0), folder / "full.db", good, 1),
            sweep(corpus, Faults(), folder / "off.db", good, 1, warm_up_seconds=0),
            sweep(corpus, Faults(delay_seconds=0.6), folder / "slow.db", "stable_p95<=0.3s", 1, 2),
        )
        return dict(zip(names, done, strict=True))

    return asyncio.run(all_of_them())


pytestmark = pytest.mark.slow


def test_a_cold_server_is_warmed_up_before_the_first_level(ran: dict[str, Ran]) -> None:
    cold = ran["cold"]
    assert cold.watcher.pauses == ["warming up"]
    # Nothing of the four seconds without text is in the level.
    assert [level.passed for level in cold.outcome.levels] == [True]
    assert cold.warm_up is not None
    assert cold.warm_up["in_time"] is True
    assert cold.warm_up["streams"] == 2
    assert float(cold.warm_up["text_after_seconds"] or 0) >= 4
    assert cold.accepted == 2 + 3


def test_a_server_that_never_answers_the_warm_up_is_measured_all_the_same(ran: dict[str, Ran]) -> None:
    mute = ran["mute"]
    assert "no text came" in mute.watcher.notes[0]
    assert mute.warm_up is not None
    assert (mute.warm_up["in_time"], mute.warm_up["text_after_seconds"]) == (False, None)
    assert [level.passed for level in mute.outcome.levels] == [False]


def test_a_refusal_ends_the_warm_up_and_is_said(ran: dict[str, Ran]) -> None:
    full = ran["full"]
    assert (full.outcome.state, full.outcome.unreachable, full.outcome.levels) == ("failed", True, ())
    assert "admitted no stream: No GPU resources available" in (full.outcome.reason or "")
    assert full.warm_up is not None
    assert float(full.warm_up["seconds"] or 0) < SHAPE.warm_up_seconds / 2


def test_without_a_warm_up_nothing_comes_before_the_first_level(ran: dict[str, Ran]) -> None:
    assert ran["off"].watcher.pauses == []
    assert ran["off"].warm_up is None
    assert ran["off"].accepted == 1


def test_after_a_missed_level_the_next_waits_until_text_is_in_time(ran: dict[str, Ran]) -> None:
    slow = ran["slow"]
    # Once, since nothing follows the second level.
    assert slow.watcher.pauses == ["warming up", "waiting for the server to recover"]
    assert any(note.startswith("the server recovered in") for note in slow.watcher.notes)
    assert slow.accepted == 1 + 1 + 1 + 2
