"""Keys, words and clicks: what a person presses, and what is on the screen then."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.commands.admin import call_server
from dashboard.tui.commands.registry import COMMANDS
from dashboard.tui.pages.command import command_named, key_text
from dashboard.tui.pages.filter_fields import FACTS
from dashboard.tui.pages.frame import message_lines
from dashboard.tui.widgets.sheet import Sheet
from tests.dashboard.pictures import DOC, FOLDER, PICTURES, with_tables
from tests.dashboard.scenes import Still, world
from tests.dashboard.tui.piloting import Asked, screen_text, told
from tests.dashboard.tui.piloting import app as admin_app


def app() -> DashApp:
    return DashApp(Still(world()))


def check_picture(folder: Path, told: str) -> None:
    (picture,) = folder.iterdir()
    assert "asr-fra-02" in picture.read_text("utf-8")
    assert f"saved {picture.name}" in told


def sheet(pilot: Pilot[None]) -> Sheet:
    return pilot.app.screen.query_one(Sheet)


async def test_the_cursor_moves_with_arrows_and_with_letters() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        assert sheet(pilot).cursor == "server asr-ams-02"
        await pilot.press("down", "j")
        assert sheet(pilot).cursor == "gpu 0 asr-fra-02"
        await pilot.press("k", "up", "up")
        assert sheet(pilot).cursor == "server asr-ams-02", "it stops at the first row"
        await pilot.press("G")
        assert sheet(pilot).cursor == "gpu 3 asr-fra-01"
        await pilot.press("g")
        assert sheet(pilot).cursor == "server asr-ams-02"


async def test_the_cursor_stays_on_its_server_when_rows_are_sorted_anew() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("down")
        await pilot.press("colon", *"sort server", "enter")
        assert sheet(pilot).cursor == "server asr-fra-02"


async def test_a_long_fleet_scrolls_with_the_cursor() -> None:
    async with app().run_test(size=(80, 14)) as pilot:
        await pilot.press("e", "G")
        await pilot.pause()
        assert "gpu 3" in screen_text(pilot).splitlines()[-2] or sheet(pilot).scroll_offset.y > 0
        assert "server" in screen_text(pilot).splitlines()[4], "the titles stay"


async def test_help_is_made_from_the_registry() -> None:
    async with app().run_test(size=(120, 78)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        text = screen_text(pilot)
        for command in COMMANDS:
            if command.works_on("fleet"):
                assert f":{command.name}" in text
        assert "fleet › help" in text
        await pilot.press("escape")
        await pilot.pause()
        assert "asr-fra-01" in screen_text(pilot)


async def test_a_filter_is_typed_and_cleared() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("slash", *"lag>1", "enter")
        await pilot.pause()
        assert "filter lag>1" in screen_text(pilot)
        assert "asr-ams-01" not in screen_text(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert "asr-ams-01" in screen_text(pilot)


async def test_a_wrong_filter_says_why_and_stays_open() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("slash", *"speed>1", "enter")
        await pilot.pause()
        assert "the filter knows no 'speed'" in screen_text(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert "the filter knows" not in screen_text(pilot)
        await pilot.press("down")
        assert sheet(pilot).cursor == "server asr-fra-02", "keys move the cursor again"


async def test_an_unknown_command_says_so() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("colon", *"dance", "enter")
        await pilot.pause()
        assert "there is no command 'dance'; ? shows them all" in screen_text(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert "fleet › help" in screen_text(pilot), "what the sentence says works at once"


async def test_after_an_unknown_command_the_next_one_is_typed_on_an_empty_line() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("colon", *"dance", "enter", "colon", *"sort lag", "enter")
        await pilot.pause()
        assert "lag p95▾" in screen_text(pilot)


@pytest.mark.parametrize("size", [(60, 20), (80, 24)])
async def test_a_long_message_is_read_to_its_end_and_then_the_footer_is_a_line_again(size: tuple[int, int]) -> None:
    async with app().run_test(size=size) as pilot:
        await pilot.press("colon", *"sort beauty", "enter")
        await pilot.pause()
        message = " ".join(screen_text(pilot).split())
        assert f"there is nothing called 'beauty' to sort by; there is {', '.join(FACTS)}" in message
        await pilot.press("2")
        await pilot.pause()
        *page, footer = screen_text(pilot).splitlines()
        assert "q quit" in footer
        assert "alerts" not in page[-1]


@pytest.mark.parametrize("width", [12, 40, 60, 80])
def test_a_message_is_broken_between_words_and_never_fills_the_screen(width: int) -> None:
    words = [f"word{number}" for number in range(200)]
    lines = [line.text for line in message_lines(" ".join(words), width)]
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)
    assert lines[-1].endswith("…")
    assert set(" ".join(lines).removesuffix("…").split()[:-1]) <= set(words), "no word is cut"
    assert [line.text for line in message_lines("it is short", width)] == [" it is short"]


async def test_a_command_of_another_page_says_where_it_works() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "slash")
        await pilot.pause()
        assert "filter works on the fleet page" in screen_text(pilot)
        await pilot.press("colon", *"span 6 h", "enter")
        await pilot.pause()
        assert "span works on the server and the gpu pages" in screen_text(pilot)


async def test_a_row_folds_and_unfolds() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "space")
        assert "gpu 0 asr-fra-02" not in sheet(pilot).keys
        await pilot.press("space")
        assert "gpu 0 asr-fra-02" in sheet(pilot).keys
        await pilot.press("e")
        assert not any(key.startswith("gpu") for key in sheet(pilot).keys)


async def test_pause_holds_the_picture() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await pilot.pause()
        assert "‖ paused" in screen_text(pilot)
        await pilot.press("p")
        await pilot.pause()
        assert "● live" in screen_text(pilot)


async def test_a_picture_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("s")
        await pilot.pause()
        told = screen_text(pilot)
    check_picture(tmp_path, told)


async def test_a_row_is_copied() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "y")
        await pilot.pause()
        assert "asr-fra-02" in pilot.app.clipboard
        assert "copied" in screen_text(pilot)


async def test_themes_follow_one_another() -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        seen = [pilot.app.theme]
        for _ in range(4):
            await pilot.press("T")
            seen.append(pilot.app.theme)
        assert seen == ["night", "light", "colour-blind", "terminal", "night"]


async def test_no_color_sends_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
        colours = {
            colour.name
            for strip in strips
            for segment in strip
            if segment.style
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None
        }
        assert colours <= {"default"}
        assert "▲ asr-fra-02" in screen_text(pilot)


async def test_the_mouse_selects_a_row_and_runs_a_command() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        lines = screen_text(pilot).splitlines()
        row = next(i for i, line in enumerate(lines) if "● asr-ams-01" in line)
        await pilot.click(offset=(10, row))
        assert sheet(pilot).cursor == "server asr-ams-01"
        await pilot.click(offset=(10, row))
        await pilot.pause()
        assert "fleet › asr-ams-01" in screen_text(pilot), "a click on the selected row opens it"
        await pilot.click(offset=(screen_text(pilot).index("fleet"), 0))
        await pilot.pause()
        assert "fleet › asr-ams-01" not in screen_text(pilot), "a click on a breadcrumb goes back"
        await pilot.click(offset=(lines[-1].index("pause"), 39))
        await pilot.pause()
        assert "‖ paused" in screen_text(pilot)


async def test_a_click_on_a_title_sorts_by_it() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        lines = screen_text(pilot).splitlines()
        head = next(i for i, line in enumerate(lines) if "lag p95" in line and "state" in line)
        await pilot.click(offset=(lines[head].index("lag p95") + 1, head))
        await pilot.pause()
        assert "lag p95▾" in screen_text(pilot)


async def test_the_palette_finds_a_command() -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"pause")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await pilot.pause()
        assert "‖ paused" in screen_text(pilot)


async def test_q_leaves() -> None:
    running = app()
    async with running.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert running.return_code == 0


def test_names_are_found_by_their_beginning() -> None:
    assert command_named(COMMANDS, "sor") is command_named(COMMANDS, "sort")
    assert command_named(COMMANDS, "") is None
    assert command_named(COMMANDS, "p") is None, "it could be pause, palette or picture"


def test_every_command_has_one_key_of_its_own() -> None:
    keys = [key for command in COMMANDS for key in command.keys]
    clashes = {key for key in keys if keys.count(key) > 1}
    for key in clashes:
        pages = [set(command.pages) for command in COMMANDS if key in command.keys]
        assert all(pages), f"{key_text(key)} does two things on one page"
        assert not set.intersection(*pages), f"{key_text(key)} does two things on one page"
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)


def test_the_docs_hold_the_registry() -> None:
    text = DOC.read_text("utf-8")
    assert with_tables(text) == text, "run make pictures"


@pytest.mark.parametrize("name", PICTURES)
def test_the_docs_show_every_picture(name: str) -> None:
    assert (FOLDER / f"{name}.svg").exists()
    assert f"pictures/{name}.svg" in DOC.read_text("utf-8")


@pytest.mark.parametrize("key", ["q", "question_mark", "escape"])
async def test_what_closes_the_help_does_not_end_the_dashboard(key: str) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert "q close" in screen_text(pilot)
        await pilot.press(key)
        await pilot.pause()
        assert pilot.app.is_running
        assert "asr-fra-01" in screen_text(pilot)
        assert "q quit" in screen_text(pilot)
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(pilot.app, DashApp)
        assert pilot.app.left is not None, "on any other page q leaves"


@pytest.mark.parametrize("close", ["q", "w", "escape", "question_mark"])
async def test_the_words_are_a_page_over_any_other(close: str) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        for before in ((), ("question_mark",)):
            await pilot.press(*before, "w")
            await pilot.pause()
            text = screen_text(pilot)
            assert "what one speaker says, sent live" in text
            assert "q close" in text
            await pilot.press(close)
            await pilot.pause()
            assert pilot.app.is_running
            # Back to where it was opened from: the help, or the page.
            assert ("Questions" if before else "asr-fra-01") in screen_text(pilot)


@pytest.mark.parametrize("before", ["question_mark", "colon"])
async def test_ctrl_c_leaves_whatever_is_open(before: str) -> None:
    async with app().run_test(size=(80, 24)) as pilot:
        await pilot.press(before, "ctrl+c")
        await pilot.pause()
        assert isinstance(pilot.app, DashApp)
        assert pilot.app.left is not None


async def test_a_fault_of_ours_is_told_and_is_an_event_never_silence() -> None:
    async def deed() -> str:
        raise ZeroDivisionError("of no use")

    async with admin_app(Asked()).run_test(size=(119, 30)) as pilot:
        assert isinstance(pilot.app, DashApp)
        for _ in range(2):
            call_server(pilot.app.context, deed())
            await told(pilot, "actions failed: ZeroDivisionError: of no use at test_app.py:")
        assert len(pilot.app.faults) == 1, "said once at the end, however often it happened"
        await pilot.press("4")
        assert "fault" in await told(pilot, "ZeroDivisionError")


async def test_a_fault_while_the_history_is_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LiveFeed) -> bool:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(LiveFeed, "refresh", broken)
    async with admin_app(Asked()).run_test(size=(119, 30)) as pilot:
        await told(pilot, "refresh failed: ZeroDivisionError")
