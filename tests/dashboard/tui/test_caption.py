"""The caption: a line under the title in which another program says what is going on."""

from pathlib import Path

import pytest

from dashboard.tui.app import REPAINT_SECONDS, DashApp
from dashboard.tui.caption import Caption
from tests.dashboard.scenes import Still, world
from tests.dashboard.tui.piloting import screen_text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12)])
async def test_it_takes_a_line_while_something_is_said(size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "caption"
    app = DashApp(Still(world()), caption=Caption(file))
    async with app.run_test(size=size) as pilot:
        before = screen_text(pilot).splitlines()
        file.write_text("level 3 of 5: 6 callers, 20 s left\nand no more than that")
        await pilot.pause(3 * REPAINT_SECONDS)
        told = screen_text(pilot).splitlines()
        assert told[0][:12] == before[0][:12]
        assert "level 3 of 5: 6 callers" in told[1]
        assert "no more" not in "".join(told)
        assert told[-1].strip() == before[-1].strip(), "the footer stays"
        assert told[2].rstrip() == before[1].rstrip(), "the page is a line further down"
        file.unlink()
        await pilot.pause(3 * REPAINT_SECONDS)
        assert [line.rstrip() for line in screen_text(pilot).splitlines()[1:]] == [line.rstrip() for line in before[1:]]


def test_what_cannot_be_read_is_no_caption_and_nothing_takes_over_the_terminal(tmp_path: Path) -> None:
    assert Caption(tmp_path)() == ""
    file = tmp_path / "caption"
    file.write_bytes(b"\xff\x1b[2J red\n" * 500)
    assert "\x1b" not in Caption(file)()
