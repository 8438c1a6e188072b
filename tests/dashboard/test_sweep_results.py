"""What a sweep in the background measured, in a sentence: what passed, what did not, and what gave no answer."""

from pathlib import Path

import pytest

from dashboard.background_command import BackgroundCommand
from dashboard.sweep_results import verdict
from dashboard.tui.pages.events_page import events_page
from tests.dashboard.scenes import NOW, world
from whisper_ops.history import EventRecord, History, LevelRecord
from whisper_ops.history.records import SweepRecord

SWEEP = SweepRecord(
    server="asr-1:8000", started_at=NOW, state="done", software="whisper-ops", protocol="native", chunk_seconds=0.1,
    duty_cycle=1.0, arrivals="even", corpus="made", objective="lag_p95<=2s", settings="{}", simulated=False,
)  # fmt: skip


def level(sweep: int, streams: int, passed: bool | None, reason: str = "") -> LevelRecord:
    return LevelRecord(
        sweep_id=sweep, streams=streams, repeat=0, started_at=NOW, duration_seconds=10.0, audit="valid", passed=passed,
        reason=reason, achieved_concurrency=float(streams), words=100, connected=streams, refused=0, failed=0,
        bytes_sent=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([(1, True, ""), (8, True, "")], "8 streams passed"),
        ([(1, True, ""), (8, False, "late")], "1 stream passed; 8 streams did not: late"),
        ([(4, False, "late"), (8, False, "later")], "no level passed, the least of 4 streams: late"),
        ([(1, None, "others took 99%"), (2, None, "others")], "no level gave an answer: others took 99%"),
        ([(1, True, ""), (2, None, "others"), (4, False, "late")],
         "1 stream passed; 4 streams did not: late; 2 streams gave no answer: others"),
    ],
)  # fmt: skip
def test_the_verdict_tells_no_answer_from_no(
    tmp_path: Path, levels: list[tuple[int, bool | None, str]], said: str
) -> None:
    with History.writing(tmp_path / "history.db") as history:
        number = history.sweeps.start(SWEEP)
        for streams, passed, reason in levels:
            history.sweeps.add_level(level(number, streams, passed, reason), [], [], [])
    assert verdict(tmp_path / "history.db", "http://ASR-1:8000/") == said


def test_what_is_known_of_a_command_goes_before_its_last_words() -> None:
    command = BackgroundCommand("sweep of asr-1", [])
    command.code, command.output = 1, ["saved: sweep 1", "next: run it again"]
    assert command.outcome.endswith("next: run it again")
    command.verdict = "sweep of asr-1: no level passed"
    assert command.outcome == "sweep of asr-1: no level passed"


@pytest.mark.parametrize("width", [59, 79, 119])
def test_a_long_event_is_read_to_its_end(width: int) -> None:
    long = "sweep of asr-1: " + "no level gave an answer and so on " * 5 + "to the end."
    page = events_page(world(events=(EventRecord(at=NOW, server="asr-1", kind="sweep", detail=long),)), width)
    assert " ".join(page.text.split()).endswith(" ".join(long.split()))
    assert all(len(line.text) <= width for line in page.body)
    assert sum(line.key is not None for line in page.body) == 1
