"""Fleets that are not the usual one: nobody answers, other software, no GPU, 200 of them, very long names."""

import msgspec
import pytest
from textual import events

from dashboard import figure_text as f
from dashboard.chart_data import ChartData
from dashboard.fleet_state import FleetState
from dashboard.tui.app import DashApp
from dashboard.tui.pages.alerts_page import alerts_page
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.server_page import server_page
from dashboard.tui.widgets.sheet import Sheet
from dashboard.world import World
from tests.dashboard.scenes import NOW, Still, gpu, silence, snapshot, world
from tests.dashboard.tui.piloting import screen_text
from whisper_ops.identity import Identity
from whisper_ops.snapshot import HostFigures, ServerFigures, Snapshot

LONG = "a-server-with-a-very-long-name-that-never-ends.eu-central-1.compute.example.internal:8000"


def fleet(*polls: Snapshot) -> World:
    board = FleetState()
    for poll in polls:
        board.take(poll)
    return board.world(NOW)


def exporter(**of_gpu: object) -> Snapshot:
    """What NVIDIA's exporter of readings says: GPUs, and nothing of streams."""
    reading = gpu(0, 0, None, streams_active=None, streams_speaking=None, slots=None, state=None, busy_ratio=None)
    return Snapshot(
        server="dcgm",
        at=NOW,
        identity=Identity(software="dcgm"),
        figures=ServerFigures(),
        gpus=(msgspec.structs.replace(reading, **of_gpu),),
        host=HostFigures(hostname="box"),
    )


@pytest.mark.parametrize("width", [59, 79, 119])
def test_no_line_of_any_fleet_is_too_wide(width: int) -> None:
    polls = (
        snapshot(LONG, NOW, (gpu(0, 7, 0.4),)),
        snapshot("none", NOW, ()),
        snapshot("many", NOW, tuple(gpu(i, 17, 0.4) for i in range(200))),
        silence("gone", NOW),
        exporter(),
    )
    for line in fleet_page(fleet(*polls), FleetView(expand="open"), width, 400).text.splitlines():
        assert len(line) <= width, line


def test_other_software_answers_and_is_not_unknown() -> None:
    text = fleet_page(fleet(exporter(temperature_celsius=71.0)), FleetView(expand="open"), 119).text
    assert "● dcgm" in text
    assert "answers" in text
    assert "unknown" not in text
    assert "71 °C" in text
    assert "12.4/80 GB" in server_page(fleet(exporter()), "dcgm", ChartData(), 119).text


def test_a_long_name_keeps_the_end_that_tells_it_from_others() -> None:
    text = fleet_page(fleet(snapshot(LONG, NOW, (gpu(0, 7, 0.4),))), FleetView(), 79).text
    assert "…" in text
    assert ":8000" in text


def test_hundreds_of_gpus_are_counted_and_listed() -> None:
    many = snapshot("many", NOW, tuple(gpu(i, 7, 0.4) for i in range(200)))
    assert "1.4k/4k" in fleet_page(fleet(many), FleetView(), 119).text
    assert "gpu 199" in fleet_page(fleet(many), FleetView(expand="open"), 119).text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (71, 72, "71/72"),
        (1400, 4000, "1400/4000"),
        (14_000, 40_000, "14k/40k"),
        (None, 40_000, "—/40,000"),
        (3, None, "3/—"),
    ],
)
def test_a_part_of_a_whole_keeps_its_digits(part: float | None, whole: float | None, text: str) -> None:
    assert f.over(part, whole, 9) == text


def test_where_nobody_ever_answered_it_says_what_to_do() -> None:
    text = " ".join(fleet_page(fleet(silence("127.0.0.1:8000", NOW)), FleetView(), 79).text.split())
    assert "No speech server has answered yet" in text
    assert "whisper-ops serve starts one" in text
    both = fleet(silence("127.0.0.1:8000", NOW), snapshot("one", NOW, (gpu(0, 7, 0.4),)))
    assert "has answered yet" not in fleet_page(both, FleetView(), 79).text


def test_no_alert_is_said_in_words() -> None:
    assert alerts_page(World(now=NOW), 79).text == " ● no active alert"


async def test_a_command_of_another_page_says_where_it_works() -> None:
    async with DashApp(Still(world())).run_test(size=(100, 30)) as pilot:
        await pilot.press("left_square_bracket")
        await pilot.pause()
        assert "shorter works on the server and the gpu pages" in screen_text(pilot)


async def test_the_page_follows_a_terminal_that_is_resized() -> None:
    async with DashApp(Still(world())).run_test(size=(120, 40)) as pilot:
        for size in ((60, 20), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            lines = screen_text(pilot).splitlines()
            assert len(lines) == size[1]
            assert "asr-fra-02" in screen_text(pilot)
            assert ("  mem  " in screen_text(pilot)) is (size[0] >= 97)


async def test_the_wheel_scrolls_a_long_fleet_and_leaves_the_cursor_where_it_is() -> None:
    many = fleet(*(snapshot(f"asr-{i:02d}", NOW, (gpu(0, 7, 0.4),)) for i in range(60)))
    async with DashApp(Still(many)).run_test(size=(80, 20)) as pilot:
        await pilot.press("e")
        sheet = pilot.app.screen.query_one(Sheet)
        assert "asr-00" in screen_text(pilot)
        for _ in range(5):
            await pilot._post_mouse_events([events.MouseScrollDown], Sheet, offset=(10, 8))
        await pilot.pause()
        assert "asr-00" not in screen_text(pilot)
        assert sheet.cursor == "server asr-00", "the cursor waits there"
        for _ in range(5):
            await pilot._post_mouse_events([events.MouseScrollUp], Sheet, offset=(10, 8))
        await pilot.pause()
        assert "asr-00" in screen_text(pilot)
