"""What a sweep shows while it runs: the picture that grows, the bar, the time left; and what it says in the end."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.conclusion import levels_conclusion, next_step
from capacity.loadtest.level_request import LevelRequest
from capacity.reports.sweep_progress import SweepProgress
from capacity.reports.text_chart import latency_picture
from tests.capacity.made_levels import level
from whisper_ops.history import LevelRecord
from whisper_ops.objective import DEFAULT
from whisper_ops.objective.findings import Missed, TooShort, encode

MISSED = Missed("stable_p95", at_most=True, limit=2.0, written="2s", value=9.0)
USUAL = Path("history.db")
LEVELS = [level(1, 0.4), level(8, 0.9), level(16, 9.0), level(12, None)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def told(streams: int, *, passed: bool | None, **more: object) -> LevelRecord:
    return level(streams, 0.4 if passed else 9.0, passed=passed, **more)


def lines(levels: list[LevelRecord], width: int, objective: str = DEFAULT, rows: int = 20) -> list[str]:
    return [text.plain for text in latency_picture(levels, objective, width, rows)]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_picture_fits_and_grows_with_load_and_latency(width: int) -> None:
    shown = lines(LEVELS, width)
    assert all(len(line) <= width for line in shown)
    assert [int(line.split()[0]) for line in shown[1:]] == [1, 8, 12, 16]
    bars = {int(line.split()[0]): line.count("━") for line in shown[1:]}
    assert bars[1] < bars[8] < bars[16]
    assert "▶" in shown[-1], "what is far over the limit is beyond the picture"
    assert "limit 2 s" in shown[0]
    # The line of the limit stands in one column, where no bar is.
    columns = {line.index("┊") for line in shown[1:] if "┊" in line}
    assert len(columns) == 1
    assert "—" in shown[3], "unknown is not 0"


def test_the_picture_is_of_the_latency_that_decides() -> None:
    """It showed a level that missed the limit of first words as one well within the limit of stable ones."""
    shown = lines([level(1, 0.5, first_p95_seconds=0.5), level(6, 1.8, first_p95_seconds=1.8, passed=False)], 80)
    assert "first p95" in shown[0]
    assert "limit 1 s" in shown[0]
    assert "▶" in shown[-1]
    assert "✗ missed" in shown[-1]


def test_the_picture_of_many_levels_is_of_the_newest() -> None:
    shown = lines([level(n, 0.1) for n in range(1, 50)], 80, rows=10)
    assert [int(line.split()[0]) for line in shown[1:]] == list(range(40, 50))


def test_an_objective_without_a_limit_on_words_has_no_line() -> None:
    shown = lines(LEVELS, 80, "errors<=1%")
    assert "limit" not in shown[0]
    assert not any("┊" in line for line in shown)


def screen(narrator: SweepProgress, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, height=24, force_terminal=False).print(narrator.picture())
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_sees_the_time_left_of_the_whole_run_and_of_the_level(width: int) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=width, height=24, force_terminal=True)
    narrator = SweepProgress(console, DEFAULT, clock)
    narrator.expect(200.0)
    narrator.begin(LevelRequest(8), 2, 3, 65.0)
    clock.now += 20
    narrator.progress(LoadProgress(8, 8, 0, 0, 9, 0.7, 0.0), None)
    shown = screen(narrator, width)
    assert "level 2 of 4: 8 streams · 8 speaking · text 0.7 s behind" in shown
    assert "3 m 00 s left, 45 s in this level" in shown
    assert "━" in shown
    for one in LEVELS:
        narrator.end(one)
    clock.now += 60
    narrator.note("measuring again")
    shown = screen(narrator, width)
    assert "2 m 00 s left" in shown
    assert "in this level" not in shown
    assert "measuring again" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_what_takes_longer_than_expected_never_has_less_than_a_second_left() -> None:
    clock = Clock()
    narrator = SweepProgress(Console(file=io.StringIO(), force_terminal=True, width=80), DEFAULT, clock)
    narrator.expect(10.0)
    narrator.begin(LevelRequest(1), 1, 1, 8.0)
    clock.now += 500
    assert "1 s left" in screen(narrator)


def test_a_refusal_is_named_on_the_screen() -> None:
    narrator = SweepProgress(Console(file=io.StringIO(), force_terminal=True, width=80), DEFAULT, Clock())
    narrator.end(
        told(8, passed=False, refused=6, reason="only 2.0 of 8 streams were live at once (the server is full)")
    )
    assert "6 refused" in screen(narrator)
    assert "the server is full" in " ".join(screen(narrator).split())


def test_without_a_terminal_there_are_plain_lines_with_the_time_left() -> None:
    clock, file = Clock(), io.StringIO()
    with SweepProgress(Console(file=file, width=80, force_terminal=False), DEFAULT, clock) as narrator:
        narrator.expect(200.0)
        narrator.pause("warming up", 60.0)
        narrator.begin(LevelRequest(8), 1, 3, 65.0)
        narrator.end(LEVELS[1])
        narrator.end(LEVELS[0])
    said = file.getvalue()
    assert "level 1 of 3: 8 streams, about 65 s; about 3 min in all" in said
    assert "  8: " in said
    assert "\x1b" not in said
    assert "━" not in said


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([told(8, passed=True), told(16, passed=False, reason="stable_p95 9.00 s > 2 s")],
         "the limit lies in [8, 16): 8 met the objective, 16 did not (stable_p95 9.00 s > 2 s)"),
        ([told(8, passed=True, audit="provisional"), told(16, passed=False)],
         "the limit lies in [8, 16): 8 met the objective, 16 did not; the levels were short, so this is provisional"),
        # Of what was found only what speaks against the level is a reason.
        ([told(4, passed=True), told(8, passed=False, findings=encode((MISSED, TooShort(8.0, 60.0))), reason="no")],
         "the limit lies in [4, 8): 4 met the objective, 8 did not (stable_p95 9.00 s > 2.00 s)"),
        ([told(4, passed=True), told(8, passed=True)], "8 streams met the objective, and no level failed"),
        ([told(4, passed=False)], "not even 4 streams met the objective"),
        ([told(4, passed=None, audit="disturbed", reason="other programs took 60% of the processors")],
         "no level gave an answer (other programs took 60% of the processors)"),
        # What gave no answer is no reason.
        ([told(1, passed=True), told(2, passed=None, audit="invalid", reason="late"),
          told(2, passed=False, reason="stable_p95 9.00 s > 2 s")],
         "the limit lies in [1, 2): 1 met the objective, 2 did not (stable_p95 9.00 s > 2 s)"),
        # A pass above a failure is luck, and what failed once did not pass.
        ([told(4, passed=True), told(8, passed=False), told(16, passed=True), told(8, passed=True)],
         "the limit lies in [4, 8): 4 met the objective, 8 did not"),
        ([], None),
    ],
)  # fmt: skip
def test_the_verdict_is_a_bracket_with_its_reason(levels: list[LevelRecord], sentence: str | None) -> None:
    assert levels_conclusion(levels) == sentence


@pytest.mark.parametrize(
    ("levels", "slots", "history", "command"),
    [
        ([told(8, passed=True), told(16, passed=False)], 64, USUAL, "whisper-ops plan"),
        ([told(8, passed=True), told(16, passed=False)], 64, Path("my data.db"),
         "whisper-ops plan --history 'my data.db'"),
        ([told(8, passed=True)], 64, USUAL,
         "whisper-ops plan  (and to find the limit: whisper-ops sweep https://asr:1 --levels 16)"),
        ([told(8, passed=True)], 8, USUAL, "whisper-ops plan"),
        ([told(8, passed=False)], 64, USUAL,
         "whisper-ops sweep https://asr:1 --levels 1,2,4  (levels that may pass)"),
        ([told(1, passed=False)], 64, USUAL, "whisper-ops plan"),
        ([told(8, passed=None, audit="disturbed")], 64, USUAL,
         "stop what kept the levels from being evidence, and run the same command again"),
        ([], 64, USUAL, None),
    ],
)  # fmt: skip
def test_the_next_command_can_be_typed_and_done(
    levels: list[LevelRecord], slots: int, history: Path, command: str | None
) -> None:
    assert next_step(levels, "https://asr:1", slots, history, USUAL) == command
