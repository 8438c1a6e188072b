"""How the dashboard was left is how it is found again."""

from pathlib import Path

import pytest

from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui import saved_state as states
from dashboard.tui.app import DashApp
from dashboard.tui.saved_state import SavedState
from tests.dashboard.tui.piloting import Asked, app, say


async def test_the_screen_is_found_again_as_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "state" / "dash.json"
    first = app(Asked())
    async with first.run_test(size=(100, 30)) as pilot:
        await say(pilot, "sort lag")
        await pilot.press("T")
        await pilot.press("q")
    assert first.left is not None
    states.save(path, first.left)
    again = DashApp(LiveFeed(Pollers([]), None, None), state=states.load(path))
    async with again.run_test(size=(100, 30)):
        assert again.theme == "light"
        assert again.state.sort == "lag"


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"sort": 3}', '{"sort": "beauty"}', '{"filter": ">>"}', '{"span": 99}', '{"x":' + "[" * 100_000],
)
def test_a_state_that_cannot_be_used_is_left_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dash.json"
    path.write_text(content, "utf-8")
    assert states.load(path) == SavedState()


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    states.save(tmp_path / "file" / "dash.json", SavedState())


def test_the_state_lives_where_states_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert states.default_path() == Path("/somewhere/whisper-ops/dash.json")
