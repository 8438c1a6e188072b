"""Charts: what they show of a history, their gaps, their limit and their cursor."""

import time
from datetime import UTC
from pathlib import Path

import pytest

from dashboard import figure_text as f
from dashboard.chart_data import SPANS, Chart, ChartData, ChartSeries, step_seconds
from dashboard.polling.poller import Pollers
from dashboard.replay.chart_reader import HistoryCharts, NoCharts
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.pages.chart import chart_columns, chart_grid, chart_lines, side_by_side
from dashboard.tui.pages.styled_lines import Line, TextSpan, line
from dashboard.tui.screens.chart_pane import ChartedPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.widgets.line_styles import changed_regions
from tests.dashboard.scenes import NOW, MadeCharts, Still, gpu, silence, snapshot, world
from tests.dashboard.tui.piloting import screen_text
from whisper_ops.history import ChartQuery, History

LAG = Chart(
    title="lag p95",
    query=ChartQuery(server="one", metric="lag_p95_seconds"),
    show=f.seconds,
    top=2.0,
    limit=1.5,
)


def picture(values: list[float | None], cursor: float | None = None, height: int = 2) -> list[str]:
    series = ChartSeries(since=NOW, step=10.0, values=tuple(values))
    charts = ChartData(series={LAG.query: series}, cursor=cursor)
    return [row.text for row in chart_lines(LAG, charts, 9 + len(values), height)]


def test_a_chart_has_its_bounds_written_on_it() -> None:
    rows = picture([0.5] * 30)
    assert rows[1].startswith("  2.00 s ")
    assert rows[3].startswith("       0 ")
    assert rows[4].strip().startswith("14:03:27")
    assert rows[4].strip().endswith("14:08:27")


def test_height_is_the_value() -> None:
    rows = picture([0.0, 0.5, 1.0, 2.0])
    assert [row[9:13] for row in rows[1:3]] == ["   █", " ▄██"] or rows[2][10] == "▄"


def test_a_value_beyond_the_scale_moves_the_scale_not_the_picture_out() -> None:
    rows = picture([0.5, 7.0])
    assert rows[1].startswith("  8.00 s ")


def test_a_gap_is_seen() -> None:
    rows = picture([1.0, None, 1.0])
    assert rows[2][9:12] == "█·█"


def test_the_limit_is_a_line_where_nothing_covers_it() -> None:
    assert "╌" in picture([0.1] * 5)[1]


def test_over_the_limit_is_another_colour() -> None:
    series = ChartSeries(since=NOW, step=10.0, values=(0.5, 1.9))
    rows = chart_lines(LAG, ChartData(series={LAG.query: series}), 20, 2)
    assert {span.style for row in rows[1:3] for span in row.spans if set(span.text) & set("▄█")} == {"fill", "bad"}


def test_the_cursor_shows_the_value_of_its_moment() -> None:
    rows = picture([0.5, 0.7, 0.9] * 20, cursor=NOW + 15)
    assert "then 0.70 s" in rows[0]
    assert rows[3].index("▲") == 9 + 1


def test_a_chart_without_data_says_so() -> None:
    assert "nothing recorded in this span" in picture([None] * 40)[0]


def test_two_charts_share_a_row_where_there_is_room() -> None:
    held = MadeCharts().read([LAG], NOW, 2, 120)
    assert sum("lag p95" in row.text for row in chart_grid([LAG, LAG], held, 120, 4)) == 1
    assert sum("lag p95" in row.text for row in chart_grid([LAG, LAG], held, 80, 4)) == 2
    assert [row.text for row in side_by_side([line("a")], [line("b"), line("c")], 3, 1)] == ["a   b", "    c"]


def recorded(path: Path, now: float) -> Path:
    with History.writing(path) as history:
        for minute in range(60):
            at = now - 60 * (60 - minute)
            if 20 <= minute < 30:
                history.polls.add([silence("one", at)])
            else:
                history.polls.add([snapshot("one", at, (gpu(0, minute, 0.01 * minute), gpu(1, 1, 0.0)))])
    return path


@pytest.mark.parametrize("span", range(len(SPANS)))
def test_every_span_is_read_from_the_history(tmp_path: Path, span: int) -> None:
    now = time.time() - 120
    source = HistoryCharts(recorded(tmp_path / "history.db", now))
    hot = Chart(title="busy", query=ChartQuery(server="one", metric="busy_ratio", kind="gpu"))
    charts = source.read([LAG, hot], now, span, chart_columns(120))
    source.close()
    series = charts.series[LAG.query]
    columns = chart_columns(120)
    step = step_seconds(columns, span)
    assert len(series.values) == columns
    assert series.step == step
    known = [value for value in series.values if value is not None]
    assert max(known) == pytest.approx(0.59), "the newest is the latest"
    assert max(v for v in charts.series[hot.query].values if v is not None) == pytest.approx(0.99)
    if SPANS[span][0] == "1 h":
        gap = [value for value in series.values[: columns // 2] if value is None]
        assert gap, "the silence is a gap"


def test_without_a_history_the_reason_is_shown(tmp_path: Path) -> None:
    missing = HistoryCharts(tmp_path / "none.db").read([LAG], NOW, 2, 120)
    assert missing.note is not None
    assert "no history" in missing.note
    assert NoCharts("because").read([LAG], NOW, 2, 120).note == "because"
    assert any("because" in row.text for row in chart_grid([LAG], ChartData(note="because"), 80, 4))


async def test_span_and_cursor_are_shared_by_all_screens() -> None:
    app = DashApp(Still(world(), MadeCharts()))
    async with app.run_test(size=(120, 45)) as pilot:
        await pilot.press("down", "enter", "right_square_bracket", "comma")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "the last 6 h" in screen_text(pilot)
        assert "then" in screen_text(pilot)
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "gpu 0" in screen_text(pilot)
        assert "the last 6 h" in screen_text(pilot)
        assert "then" in screen_text(pilot)
        await pilot.press("full_stop")
        await pilot.pause()
        assert "then" not in screen_text(pilot), "beyond the end the cursor goes away"
        await pilot.press("colon", *"span 90d", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "the last 90 d" in screen_text(pilot)
        await pilot.press("colon", *"span 2 y", "enter")
        await pilot.pause()
        assert "charts have no span" in screen_text(pilot)


async def test_charts_of_the_present_are_read_beside_the_loop(tmp_path: Path) -> None:
    now = time.time()
    path = recorded(tmp_path / "history.db", now)
    live = LiveFeed(Pollers([]), None, path)
    live.take(snapshot("one", now, (gpu(0, 7, 0.4),)))
    app = DashApp(live, history=path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, PageScreen)
        assert isinstance(app.screen.pane, ChartedPane)
        assert app.screen.pane.data.series
        assert "max 0.59 s" in screen_text(pilot)
    live.close()


async def test_the_wheel_scrolls_and_text_below_the_rows_is_reached() -> None:
    app = DashApp(Still(world(), MadeCharts()))
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.press("down", "enter")
        await pilot.pause()
        for _ in range(40):
            await pilot.press("down")
        await pilot.pause()
        assert "host asr-fra-02.example" in screen_text(pilot)
        await pilot.press("g")
        await pilot.pause()
        assert "connections" in screen_text(pilot)


def region(before: str, after: str) -> list[tuple[int, int]]:
    """Which cells are sent when a line of one-cell spans changes: (from, how many)."""
    old, new = (Line(tuple(TextSpan(char) for char in text)) for text in (before, after))
    return [(region.x, region.width) for region in changed_regions(old, new, 0, 40)]


def test_only_what_changed_is_sent_and_near_changes_go_together() -> None:
    assert region("abcdefghijklmnop", "abcdefghijklmnop") == []
    assert region("abcdefghijklmnop", "abXdefghijklmnop") == [(2, 1)]
    assert region("abcdefghijklmnop", "abXdeYghijklmnop") == [(2, 4)]
    assert region("abcdefghijklmnop", "aXcdefghijklmnoY") == [(1, 1), (15, 1)]
    assert region("Xbcdefghijklmnop", "abcdefghijklmnop") == [(0, 1)]
    assert region("abc", "abcd") == [(0, 40)], "another shape: the whole line"


@pytest.mark.parametrize("size", [(80, 24), (60, 30), (120, 40)])
async def test_the_moment_of_the_cursor_is_shown_to_the_second_however_narrow(size: tuple[int, int]) -> None:
    async with DashApp(Still(world(), MadeCharts())).run_test(size=size) as pilot:
        await pilot.press("down", "enter", "comma", "comma", "comma")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        text = screen_text(pilot)
    assert f"the last 1 h   at {f.clock(NOW - 540)}   [ ]" in text, text


def test_a_cursor_on_another_day_has_its_day_behind_the_time() -> None:
    charts = ChartData(series={LAG.query: ChartSeries(since=NOW, step=10.0, values=(0.5, 0.6))}, cursor=NOW - 2 * 86400)
    assert f"at {f.when(NOW - 2 * 86400, NOW)}   [ ]" in chart_grid((LAG,), charts, 80, 4)[0].text
    assert f.when(NOW - 2 * 86400, NOW, UTC) == "14:03:27 Thu 19 Nov"
