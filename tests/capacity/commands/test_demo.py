"""The demo's parts: what it says and where, how much time is left for its second act, and how it ends."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capacity.commands import demo
from capacity.commands.demo_screen import DemoScreen
from capacity.demo.fleet_act import GPUS, LEVELS, SERVERS, called, killed_title, lost_title
from capacity.demo.narration import DemoNarration
from capacity.demo.speech_act import too_wide
from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.level_request import LevelRequest
from dashboard import time_input
from tests.capacity.made_levels import level
from whisper_ops.child_processes import Children
from whisper_ops.errors import UserError
from whisper_ops.plan.plan_document import Capacity, Plan


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def told(hint: str = "") -> tuple[DemoNarration, Clock, list[str], list[str]]:
    clock, captions, lines = Clock(), list[str](), list[str]()
    return DemoNarration(captions.append, lines.append, hint=hint, clock=clock), clock, captions, lines


def test_the_caption_names_the_level_counts_down_and_says_what_enter_does() -> None:
    telling, clock, captions, lines = told("Enter opens the server")
    telling.begin(LevelRequest(6), 3, 3, 22.0)
    clock.now += 2
    telling.progress(LoadProgress(6, 6, 0, 0, 9, 0.7, 0.0), None)
    assert captions[-1] == "level 3 of 5: 6 callers, 20 s left, Enter opens the server"
    assert lines == ["level 3 of 5: 6 callers, 22 s"]
    clock.now += 30
    telling.tick()
    assert captions[-1] == "level 3 of 5: 6 callers, Enter opens the server"
    telling.end(level(6, 0.7))
    assert "6 callers: ✓ met" in lines[-1]


def test_what_is_not_measured_and_what_has_a_title_is_said_too() -> None:
    telling, _, captions, lines = told()
    telling.pause("warming up", 60.0)
    assert captions == ["warming up"]
    telling.title = "32 callers, and a server is lost"
    telling.begin(LevelRequest(32, "soak", "soak", 12.0), 1, None, 12.0)
    telling.end(level(32, 0.5))
    assert captions[-1] == "32 callers, and a server is lost, 12 s left"
    assert lines == ["32 callers, and a server is lost, 12 s"], "what is measured while a server dies is no answer"


def test_every_caption_of_the_act_that_loses_a_server_fits_into_80_columns() -> None:
    telling, clock, captions, _ = told("Enter opens a server")
    telling._prefix = "SIMULATED · "
    telling.title = lost_title(32, "sim-4")
    telling.begin(LevelRequest(32, "soak", "soak", 18.0), 1, None, 18.0)
    telling.now(killed_title("sim-4"), 12.0)
    clock.now += 1
    telling.tick()
    assert captions[-1].endswith("11 s left")
    assert max(map(len, captions)) <= 80 - len(" ▶ ") - 1


def test_without_a_terminal_every_line_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Children() as children:
        seen = DemoScreen(children, tmp_path, wanted=False)
        seen.open(["http://127.0.0.1:9"], tmp_path / "h.db")
        seen.caption("level 1")
        seen.say("level 1 of 4: 1 caller")
        assert not seen.showing
        seen.close()
    assert capsys.readouterr().err == "level 1 of 4: 1 caller\n"
    assert list(tmp_path.iterdir()) == []


def test_the_fleet_has_eight_gpus_and_is_loaded_beyond_what_they_carry() -> None:
    assert SERVERS * GPUS == 8
    assert all(streams % (SERVERS * GPUS) == 0 for streams in LEVELS), "each GPU has as many"
    assert called(["http://a", "http://b"]) == ["sim-1=http://a", "sim-2=http://b"]


@pytest.mark.parametrize(
    ("last", "fail", "wide"), [(8, 16, False), (8, 17, True), (1, 2, False), (None, 1, True), (8, None, True)]
)
def test_an_answer_has_ends_a_factor_of_2_apart_at_most(last: int | None, fail: int | None, wide: bool) -> None:
    assert too_wide(Plan(capacity=Capacity(last_pass=last, first_fail=fail))) is wide


@pytest.mark.parametrize("elapsed", [5.0, 60.0, 100.0])
def test_whatever_the_first_act_took_all_of_it_ends_in_three_minutes(elapsed: float) -> None:
    within = demo.measuring_seconds(elapsed)
    assert elapsed + within < 175.0
    assert within >= 40.0


def test_on_a_machine_that_is_far_too_busy_there_is_still_time_to_measure() -> None:
    assert demo.measuring_seconds(400.0) == 40.0


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("url", ["http://127.0.0.1:4711", None])
def test_it_ends_with_an_address_and_three_things_to_try(
    url: str | None, recorded: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.time() - 75
    demo._closing(url, tmp_path / "my history.db", began if recorded else None)
    said = capsys.readouterr().err
    tries = [line for line in said.splitlines() if line.startswith("    ")]
    assert len(tries) == 3
    assert "in a browser: http://127.0.0.1:" in said
    assert ("still runs" in said) == (url is not None)
    assert f"--history '{tmp_path}/my history.db'" in said
    assert ("--replay" in said) == recorded, "there is something to replay only where the dashboard recorded it"
    if recorded:
        written = said.partition("--replay '")[2].partition("'")[0]
        # Minutes pass until somebody has read all of it and types this: it must not be "so long ago".
        later = time_input.parse(written, time.time() + 600)
        assert later == int(began)


@pytest.mark.parametrize("levels", ["0", "1,x", "65", ""])
def test_levels_that_cannot_be_played_are_a_sentence(levels: str) -> None:
    with pytest.raises(UserError, match="numbers of callers from 1 to"):
        demo._levels(levels)


@pytest.fixture
def no_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    monkeypatch.delenv("WHISPER_OPS_CORPUS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return (tmp_path / "cache").exists


def test_speech_that_somebody_named_is_never_made(
    tmp_path: Path, no_speech: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_OPS_CORPUS", str(tmp_path / "mine"))
    with Children() as children:
        assert demo._make_speech(children, tmp_path) is None
    assert not no_speech()
