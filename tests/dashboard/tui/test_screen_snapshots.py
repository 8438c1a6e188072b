"""Every screen at every size, in colour (SVG) and without (text): `pytest --snapshot-update` draws them anew."""

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot

from dashboard.tui.app import DashApp
from tests.dashboard.scenes import MadeCharts, Still, fleet_behind_brokers, world
from tests.dashboard.tui.piloting import screen_text

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "60x20": (60, 20)}
SCREENS = {
    "fleet": (),
    "server": ("down", "enter"),
    "gpu": ("down", "enter", "enter"),
    "alerts": ("2",),
    "plan": ("down", "3"),
    "events": ("4",),
    "help": ("question_mark",),
    "members": ("6",),
}


class Text(SingleFileSnapshotExtension):
    """One text file a picture: what changed can be read in a diff."""

    _write_mode = WriteMode.TEXT
    _file_extension = "txt"


def app(screen: str = "fleet") -> DashApp:
    return DashApp(Still(fleet_behind_brokers() if screen == "members" else world(), MadeCharts()))


async def go(pilot: Pilot[None], screen: str) -> None:
    await pilot.pause()
    for key in SCREENS[screen]:
        await pilot.press(key)
        await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
def test_in_colour(snap_compare: object, screen: str, size: str) -> None:
    assert callable(snap_compare)

    async def there(pilot: Pilot[None]) -> None:
        await go(pilot, screen)

    assert snap_compare(app(screen), terminal_size=SIZES[size], run_before=there)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
async def test_without_colour(
    snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, screen: str, size: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app(screen).run_test(size=SIZES[size]) as pilot:
        await go(pilot, screen)
        text = "\n".join(line.rstrip() for line in screen_text(pilot).splitlines()) + "\n"
    assert text == snapshot.use_extension(Text)


@pytest.mark.parametrize("screen", SCREENS)
async def test_a_terminal_that_is_far_too_small_breaks_nothing(screen: str) -> None:
    async with app(screen).run_test(size=(12, 4)) as pilot:
        await go(pilot, screen)
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        assert "whisper-ops" in screen_text(pilot)
