"""One objective for the load test, the plan and the dashboard: the same verdict for any level and any condition."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click import UsageError
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.loadtest.aggregate import StreamCounts, utterance_records
from capacity.loadtest.level import LoadShape, MeasuredLevel, judge_level, make_order
from capacity.loadtest.samples import LevelSamples
from capacity.loadtest.target import parse_target
from capacity.planner.bracket import judged_levels
from capacity.planner.evidence import Evidence
from capacity.planner.key import key_of
from capacity.planner.rejudge import judged_again
from dashboard.commands import dash
from dashboard.fleet_state import FleetState
from dashboard.planned_limits import objective_seconds
from dashboard.tui.pages.plan_page import plan_page
from dashboard.tui.pages.thresholds import lag_style
from tests.capacity.plan_history import level as stored_level
from tests.capacity.plan_history import sweep, written
from tests.dashboard.scenes import NOW, gpu, plan_of, snapshot
from tests.support.servers import whisper_ops
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelFigures, LevelRecord
from whisper_ops.objective import DEFAULT_LAG_SECONDS, MEASURES, Objective, parse
from whisper_ops.objective.findings import StoppedEarly
from whisper_ops.objective.judgement import Baseline, findings_of, missed

_ORDER = make_order(parse_target("ws://127.0.0.1:1/ws"), LoadShape(seconds=60), 1, 0, 100.0)
_CLIPS = [f"clip {k}" for k in range(8)]


@st.composite
def measured_levels(draw: st.DrawFn, streams: int) -> MeasuredLevel:
    """A level with every figure, some of them bad enough for each kind of finding."""
    seconds = st.floats(0.01, 5.0) | st.none()
    clips = draw(st.dictionaries(st.sampled_from(_CLIPS), st.tuples(st.integers(0, 6), st.integers(6, 60))))
    reference = sum(words for _, words in clips.values()) or draw(st.integers(0, 50))
    refused, failed = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    figures = LevelFigures(
        achieved_concurrency=streams * draw(st.sampled_from([1.0, 0.97, 0.5])),
        words=draw(st.sampled_from([20, 500])),
        first_p95_seconds=draw(seconds),
        stable_p50_seconds=draw(seconds),
        stable_p95_seconds=draw(seconds),
        ready_max_seconds=draw(seconds),
        wer_ratio=draw(st.floats(0, 0.4)) if reference else None,
        missing_words=draw(st.integers(0, max(1, reference // 4))) if reference else None,
        reference_words=reference or None,
        partials_per_second=draw(st.sampled_from([None, 0.0, 1.0])),
        connected=streams - refused,
        refused=refused,
        failed=failed,
        late_p99_seconds=draw(st.sampled_from([0.01, 0.01, 0.01, 0.2])),
    )
    stopped = StoppedEarly(streams, behind_seconds=8.0)
    return MeasuredLevel(
        streams=streams,
        repeat=0,
        started_at=1000.0 + streams,
        seconds=draw(st.sampled_from([20.0, 60.0])),
        figures=figures,
        counts=StreamCounts(asked=streams, speech_words=100, first_error=None, clip_errors=clips),
        readings=LevelSamples(server_lag_p95_seconds=draw(seconds)),
        order=_ORDER,
        parts=(),
        snapshots=(),
        stop=draw(st.sampled_from([None, None, None, stopped])),
    )


@st.composite
def objectives(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(sorted(MEASURES)), min_size=1, max_size=4, unique=True))
    terms = []
    for name in names:
        sign = draw(st.sampled_from(["<=", ">=", "<", ">"]))
        plus = draw(st.sampled_from(["", "+"]))
        unit = draw(st.sampled_from(["s", "ms"])) if MEASURES[name].unit == "seconds" else "%"
        number = draw(st.integers(0, 4000 if unit == "ms" else 100 if unit == "%" else 5))
        terms.append(f"{name}{sign}{plus}{number}{unit}")
    return ", ".join(terms)


@settings(max_examples=80, deadline=None)
@given(measured_levels(1), measured_levels(8), objectives(), objectives())
def test_a_plan_judges_a_stored_level_as_the_sweep_would_have(
    one: MeasuredLevel, many: MeasuredLevel, first: str, other: str
) -> None:
    baseline = Baseline(one.measures, one.counts.clip_errors) if one.figures.wer_ratio is not None else Baseline()
    with tempfile.TemporaryDirectory() as folder, History.writing(Path(folder) / "h.db") as history:
        sweep_id = history.sweeps.start(sweep(objective=parse(first).canonical))
        for measured in (one, many):
            judged = judge_level(measured, parse(first), baseline, sweep_id)
            history.sweeps.add_level(judged, utterances=utterance_records(measured.counts))
        try:
            again = judged_again(history, history.sweeps.levels(sweep_id), other)
        except UserError as error:
            assert error.code == Exit.EVIDENCE  # noqa: PT017  # a condition that not one level measured
            return
    for measured, level in zip((one, many), again, strict=True):
        expected = judge_level(measured, parse(other), baseline, sweep_id)
        assert (level.audit, level.passed) == (expected.audit, expected.passed)
        assert level.reason == expected.reason
    _shown_by_the_dashboard(again, other)


def _shown_by_the_dashboard(levels: Sequence[LevelRecord], objective: str) -> None:
    """The plan page shows the verdicts of the plan that was stored, and lags by its objective, as the sweep judged."""
    seen = judged_levels(Evidence(key=key_of(sweep(objective=parse(objective).canonical)), levels=tuple(levels)))
    board = FleetState()
    body = msgspec.json.encode({"levels": seen}).decode()
    board.plans = (plan_of(objective=parse(objective).canonical, body=body),)
    for level in levels:
        lag = level.server_lag_p95_seconds
        polled = gpu(0, level.streams, lag or 0.0)
        board.take(snapshot(f"asr-{level.streams}", NOW, (polled,)))
    world = board.world(NOW)
    text = " ".join(plan_page(world, None, 200).text.split())
    for level in levels:
        word = {True: "✓ pass", False: "✕ fail", None: "? no evidence"}[level.passed]
        assert f"{level.streams} {word}" in text.partition("Levels: ")[2]
        terms = tuple(term for term in parse(objective).terms if term.name == "lag_p95" and term.at_most)
        lag = level.server_lag_p95_seconds
        if lag is None or not terms or any(term.relative for term in terms):
            continue
        late = any(missed(term, lag, None) is not None for term in terms)
        server = world.server(f"asr-{level.streams}")
        assert server is not None
        assert server.planned is not None
        assert (lag_style(lag, server.planned.objective_seconds) == "bad") is late


@given(objectives())
def test_the_history_s_form_is_the_same_objective(text: str) -> None:
    one, again = parse(text), parse(parse(text).canonical)
    assert _bounds(again) == pytest.approx(_bounds(one))
    most = one.most_lag
    assert objective_seconds(one.canonical) == pytest.approx(DEFAULT_LAG_SECONDS if most is None else most, abs=1e-8)


@pytest.mark.parametrize(
    ("objective", "bound", "over"),
    [
        ("lag_p95<=2s", 2.0, 2.001), ("stable_p95<=500ms", 0.5, 0.51), ("stable_p95<=5s, lag_p95<=1s", 1.0, 1.1),
        ("lag_p95<=3s, lag_p95<=2s", 2.0, 2.1), ("lag_p95<2s", 1.9999, 2.0), ("wer<=5%", 1.0, 1.1),
        ("lag_p95>=3s", 1.0, 1.1), ("stable_p95<=0s", 0.0, 0.01),
    ],
)  # fmt: skip
def test_a_lag_at_its_bound_is_in_time_and_beyond_it_late(objective: str, bound: float, over: float) -> None:
    most = objective_seconds(parse(objective).canonical)
    assert lag_style(bound, most) != "bad"
    assert lag_style(over, most) == "bad"


@pytest.mark.parametrize("where", [["--once", "http://127.0.0.1:9"], ["http://127.0.0.1:9"], ["--replay", "1 h ago"]])
def test_the_dashboard_names_an_unknown_condition(where: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dash, "_terminal", lambda: True)
    done = CliRunner().invoke(dash.command, [*where, "--objective", "stable_p95<=1s, speed<=2s"])
    assert isinstance(done.exception, SystemExit | UserError | UsageError)
    if "--once" in where:
        assert "--objective" in str(done.exception) + done.output
        return
    assert isinstance(done.exception, UserError)
    assert done.exception.code == Exit.USAGE
    assert "no measure 'speed'" in str(done.exception)
    assert "stable_p95" in str(done.exception)


def test_the_dashboard_judges_by_what_was_asked() -> None:
    board = FleetState()
    board.plans = (plan_of(),)
    board.take(snapshot("a", NOW, (gpu(0, 2, 1.0),)))
    assert board.world(NOW).objective_seconds == 2.0
    board.objective_override_seconds = 0.5
    world = board.world(NOW)
    assert world.objective_seconds == 0.5
    assert world.servers[0].planned is not None
    assert world.servers[0].planned.objective_seconds == 0.5


def _bounds(objective: Objective) -> dict[str, float]:
    return {f"{t.name} {t.sign} {'+' if t.relative else ''}": t.limit for t in objective.terms}


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "--objective", "stable_p95<=1s, speed<=2s"),
        ("sweep", "http://127.0.0.1:9", "--objective", "stable_p95<=1s, speed<=2s"),
        ("import", "levels.csv", "--levels", "--map", "level.streams=n", "--objective", "stable_p95<=1s, speed<=2s"),
    ],
)
def test_an_unknown_condition_is_named_with_those_there_are(command: tuple[str, ...], tmp_path: Path) -> None:
    history = written(tmp_path / "h.db", [stored_level(4, True), stored_level(8, False)])
    (tmp_path / "levels.csv").write_text("n,stable_p95_seconds\n1,0.5\n2,0.6\n")
    arguments = [str(tmp_path / part) if part == "levels.csv" else part for part in command]
    more = ("--server", "asr-9") if command[0] == "import" else ()
    done = whisper_ops(*arguments, "--history", str(history), *more)
    assert done.returncode == 2, done.stderr
    assert "no measure 'speed'" in done.stderr
    assert "stable_p95" in done.stderr


def test_a_mistake_in_an_objective_is_said_before_what_else_is_missing(tmp_path: Path) -> None:
    done = whisper_ops("plan", "--objective", "speed<=1", "--history", str(tmp_path / "none.db"))
    assert (done.returncode, "no measure 'speed'" in done.stderr) == (2, True)


def test_no_condition_is_dropped_from_a_plan(tmp_path: Path) -> None:
    """A condition in a sweep's own words beside one in the history's once made the first of them vanish."""
    history = written(tmp_path / "h.db", [stored_level(4, True, wer_ratio=0.02), stored_level(8, True, wer_ratio=0.02)])
    with History.reading(history) as store:
        (stored,) = store.sweeps.every()
        levels = judged_again(store, store.sweeps.levels(stored.id), "stable_p95<=300ms, wer_ratio<=0.1")
    assert [level.passed for level in levels] == [False, False]
    assert [type(finding).__name__ for finding in findings_of(levels[0])] == ["Missed"]


def test_a_level_of_an_older_version_keeps_its_words(tmp_path: Path) -> None:
    broken = stored_level(8, False, audit="invalid", reason="stopped early: half of the streams were behind")
    history = written(tmp_path / "h.db", [stored_level(4, True), broken])
    with History.reading(history) as store:
        (stored,) = store.sweeps.every()
        again = judged_again(store, store.sweeps.levels(stored.id), "stable_p95<=9s")
    assert [level.passed for level in again] == [True, False]
    assert again[1].reason == broken.reason
    assert msgspec.json.decode(again[0].findings) == []
