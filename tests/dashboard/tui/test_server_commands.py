"""Actions on servers: asked first, done with the admin token, told afterwards; none where one may only look."""

import asyncio
import sys
import time
from pathlib import Path

import httpx
import pytest
from textual.pilot import Pilot

from dashboard.admin_client import Admin
from dashboard.background_command import BackgroundCommand
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui import saved_state as states
from dashboard.tui.app import DashApp
from dashboard.tui.commands.admin import call_server
from dashboard.tui.commands.background import run_in_background
from dashboard.tui.saved_state import SavedState
from dashboard.tui.screens.confirmation import ConfirmationScreen
from tests.dashboard.scenes import NOW, gpu, silence, snapshot
from tests.dashboard.tui.test_app import screen_text
from whisper_ops.errors import UserError
from whisper_ops.snapshot import Snapshot


class Asked:
    """A server that keeps what it was asked."""

    def __init__(self, status: int = 200, body: bytes = b'{"status": "draining"}') -> None:
        self.requests: list[httpx.Request] = []
        self.status, self.body = status, body

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = httpx.ByteStream(self.body)  # over a socket it comes as a stream, too
        return httpx.Response(self.status, stream=body)


def app(asked: Asked, token: str | None = "admin-secret", said: Snapshot | None = None) -> DashApp:
    live = LiveFeed(Pollers([]), None, None)
    live.take(said or snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)))
    admin = Admin({"asr-1": "http://asr-1:8000/"}, token, httpx.MockTransport(asked))
    return DashApp(live, admin=admin)


async def say(pilot: Pilot[None], line: str) -> None:
    await pilot.press("colon", *line, "enter")
    await pilot.pause()


async def settled(pilot: Pilot[None]) -> str:
    for worker in [worker for worker in pilot.app.workers if worker.group == "actions"]:
        await worker.wait()
    await pilot.pause()
    return screen_text(pilot)


async def test_draining_is_asked_first_then_done_and_told() -> None:
    asked = Asked()
    async with app(asked).run_test(size=(100, 30)) as pilot:
        await say(pilot, "drain")
        assert "Drain asr-1?" in screen_text(pilot)
        assert not asked.requests, "nothing before the answer"
        await pilot.press("y")
        assert "asr-1 is draining" in await settled(pilot)
    (request,) = asked.requests
    assert (request.method, str(request.url)) == ("POST", "http://asr-1:8000/admin/drain")
    assert request.headers["Authorization"] == "Bearer admin-secret"


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_anything_but_yes_is_no(key: str) -> None:
    asked = Asked()
    async with app(asked).run_test(size=(100, 30)) as pilot:
        await say(pilot, "drain")
        await pilot.press(key)
        await settled(pilot)
    assert not asked.requests


async def test_the_limit_is_set() -> None:
    asked = Asked()
    async with app(asked).run_test(size=(100, 30)) as pilot:
        await say(pilot, "limit many")
        assert "as in :limit 18" in screen_text(pilot)
        await say(pilot, "limit 18")
        await pilot.press("y")
        assert "admits 18 streams per GPU" in await settled(pilot)
    (request,) = asked.requests
    assert request.method == "PUT"
    assert request.content == b'{"max_connections_per_gpu":18}'


async def test_undrain_takes_it_back() -> None:
    asked = Asked()
    drained = snapshot("asr-1", NOW, (gpu(0, 7, 0.4),), "draining")
    async with app(asked, said=drained).run_test(size=(100, 30)) as pilot:
        await say(pilot, "undrain")
        await pilot.press("y")
        assert "accepts new streams again" in await settled(pilot)
    assert asked.requests[0].method == "DELETE"


@pytest.mark.parametrize(("status", "said"), [(403, "refused the admin token"), (500, "answered 500")])
async def test_a_refusal_is_told(status: int, said: str) -> None:
    async with app(Asked(status)).run_test(size=(100, 30)) as pilot:
        await say(pilot, "drain")
        await pilot.press("y")
        assert said in await settled(pilot)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"900 slots need 1028 open files"}', "asr-1 answered 422: 900 slots need 1028 open files"),
        (b'{"error":{"code":7}}', 'asr-1 answered 422: {"error":{"code":7}}'),
        (b"[1]", "asr-1 answered 422: [1]"),
        (b"no\x1b[31m JSON", "asr-1 answered 422: no"),
        (b"", "asr-1 answered 422: PUT /admin/limits"),
    ],
)
async def test_why_a_server_refused_is_its_own_sentence(body: bytes, said: str) -> None:
    async with app(Asked(422, body)).run_test(size=(80, 24)) as pilot:
        await say(pilot, "limit 900")
        await pilot.press("y")
        assert said in await settled(pilot)


async def test_without_a_token_it_says_how_to_give_one() -> None:
    asked = Asked()
    async with app(asked, token=None).run_test(size=(100, 30)) as pilot:
        for line in ("drain", "undrain", "limit 3"):
            await say(pilot, line)
            assert "--admin-token-file" in screen_text(pilot), "at once: nothing is asked that cannot be done"
            assert not isinstance(pilot.app.screen, ConfirmationScreen)
    assert not asked.requests


@pytest.mark.parametrize(
    ("said", "line", "why"),
    [
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)), "undrain", "asr-1 is not draining"),
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),), "draining"), "drain", "asr-1 is draining already"),
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),), "draining"), "sweep 1,2", "is draining and refuses new streams"),
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),), "draining"), "check", "is draining and refuses new streams"),
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)), "limit 20", "admits 20 streams per GPU already"),
        (snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)), "sweep 30,40", "asr-1 has 20 slots"),
        *((silence("asr-1", NOW), line, "asr-1 does not answer") for line in ("drain", "limit 3", "sweep 1", "check")),
    ],
)
async def test_only_what_can_be_done_is_asked(said: Snapshot, line: str, why: str) -> None:
    asked = Asked()
    async with app(asked, said=said).run_test(size=(119, 30)) as pilot:
        await say(pilot, line)
        assert why in screen_text(pilot)
        assert not isinstance(pilot.app.screen, ConfirmationScreen)
    assert not asked.requests


@pytest.mark.parametrize("page", ["2", "3", "4", "6", "question_mark"])
async def test_where_there_is_but_one_server_it_is_meant_on_every_page(page: str) -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await pilot.press(page)
        await say(pilot, "drain")
        assert "Drain asr-1?" in screen_text(pilot)


async def test_of_several_servers_one_is_named_before_anything_is_done() -> None:
    several = app(Asked())
    assert isinstance(several.feeds.shown, LiveFeed)
    several.feeds.shown.take(snapshot("asr-2", NOW, (gpu(0, 7, 0.4),)))
    async with several.run_test(size=(100, 30)) as pilot:
        await pilot.press("4")
        await say(pilot, "drain")
        assert "put the cursor on a server first; 1 shows them" in screen_text(pilot)


async def test_a_question_does_not_stop_the_clock() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        assert isinstance(pilot.app, DashApp)
        await say(pilot, "drain")
        before = screen_text(pilot)
        assert "Drain asr-1?" in before
        live = pilot.app.feeds.shown
        assert isinstance(live, LiveFeed)
        live.take(snapshot("asr-1", time.time(), (gpu(0, 19, 0.4),)))
        await told(pilot, "19/20")
        text = await told(pilot, time.strftime("%H:%M:%S", time.localtime(time.time() + 2)))
        assert "Drain asr-1?" in text


async def test_a_dashboard_that_only_looks_does_nothing() -> None:
    live = LiveFeed(Pollers([]), None, None)
    live.take(snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)))
    async with DashApp(live).run_test(size=(100, 30)) as pilot:
        await say(pilot, "drain")
        assert "read-only" in screen_text(pilot)


def test_a_server_without_a_known_address_is_a_sentence() -> None:
    with pytest.raises(UserError, match="other can only be watched"):
        Admin({}, "token").url("other")


@pytest.mark.parametrize(
    ("line", "asked", "arguments"),
    [
        ("sweep 5,10", "Sweep asr-1 with 5,10 speaking clients?", ["sweep", "http://asr-1:8000/", "--levels", "5,10"]),
        (
            "sweep 5,10 30 s",
            "Sweep asr-1 with 5,10 speaking clients, 30 s each?",
            ["--levels", "5,10", "--duration", "30"],
        ),
        ("sweep 1 5 s", "Sweep asr-1 with 1 speaking client, 5 s each?", ["--levels", "1", "--duration", "5"]),
        ("check", "Check asr-1?", ["check", "http://asr-1:8000/", "--yes"]),
    ],
)
async def test_what_runs_beside_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, line: str, asked: str, arguments: list[str]
) -> None:
    shown: list[str] = []

    async def never_ends(command: BackgroundCommand) -> None:
        shown.extend(command._command)
        command._began = time.monotonic()
        await asyncio.sleep(600)

    monkeypatch.setattr(BackgroundCommand, "run", never_ends)
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, line)
        assert asked in screen_text(pilot)
        assert not shown
        await pilot.press("y")
        await pilot.pause()
        assert set(arguments) <= set(shown)
        assert "running for" in screen_text(pilot)
        await pilot.press("h", "5")
        await pilot.pause()
        assert "running for" in screen_text(pilot), "it is found again"
        await pilot.press("h")
        await say(pilot, line)
        assert "is still running" in screen_text(pilot), "one at a time"


async def test_levels_that_are_none_are_refused() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, "sweep lots")
        assert "as in :sweep 5,10,20" in screen_text(pilot)


async def told(pilot: Pilot[None], sign: str) -> str:
    """What the screen shows once it shows `sign`."""
    deadline = time.monotonic() + 20
    while sign not in (text := screen_text(pilot)):
        assert time.monotonic() < deadline, f"never saw {sign!r} in {text}"
        await pilot.pause(0.05)
    return text


def run(pilot: Pilot[None], code: str) -> BackgroundCommand:
    """A command of our own beside the dashboard, on its screen."""
    command = BackgroundCommand("sweep of asr-1", [sys.executable, "-c", code])
    assert isinstance(pilot.app, DashApp)
    run_in_background(pilot.app.context, command, "asr-1")
    return command


async def test_a_command_is_watched_to_its_end() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        run(pilot, "import sys; print('level 1: passed', flush=True); sys.exit(1)")
        assert "level 1: passed" in await told(
            pilot, "▲ the sweep of asr-1 is done, and its answer is no: level 1: passed"
        )


async def test_the_time_of_a_command_begins_with_it_and_not_with_its_question() -> None:
    command = BackgroundCommand("sweep of asr-1", [sys.executable, "-c", ""])
    await asyncio.sleep(0.05)
    assert command.seconds == 0
    before = time.monotonic()
    await command.run()
    assert 0 < command.seconds <= time.monotonic() - before


async def test_a_long_sentence_of_a_command_is_read_to_its_end() -> None:
    async with app(Asked()).run_test(size=(60, 20)) as pilot:
        run(pilot, "print('the server cannot be reached, ' * 4 + 'is it running?')")
        assert "is it running?" in await told(pilot, "● done")


async def test_a_command_goes_on_when_its_screen_is_left_and_is_found_again() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        await say(pilot, "running")
        assert "no sweep or check was started here yet" in screen_text(pilot)
        command = run(pilot, "import time; print('half-way', flush=True); time.sleep(30)")
        await told(pilot, "half-way")
        await pilot.press("h")
        await pilot.pause()
        assert "asr-1" in screen_text(pilot)
        assert command.code is None, "it still runs"
        command.stop()
        await told(pilot, "the sweep of asr-1 was stopped")


async def test_a_command_is_stopped_by_a_key() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        run(pilot, "import time; print('ready', flush=True); time.sleep(60)")
        await told(pilot, "ready")
        await pilot.press("x")
        await told(pilot, "▲ the sweep of asr-1 was stopped")


async def test_a_command_ends_with_the_dashboard() -> None:
    async with app(Asked()).run_test(size=(100, 30)) as pilot:
        command = run(pilot, "import time; print('ready', flush=True); time.sleep(60)")
        await told(pilot, "ready")
        await pilot.press("q")
    assert command.code is not None, "nothing is left behind"


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


async def test_a_fault_of_ours_is_told_and_is_an_event_never_silence() -> None:
    async def deed() -> str:
        raise ZeroDivisionError("of no use")

    async with app(Asked()).run_test(size=(119, 30)) as pilot:
        assert isinstance(pilot.app, DashApp)
        for _ in range(2):
            call_server(pilot.app.context, deed())
            await told(pilot, "actions failed: ZeroDivisionError: of no use at test_server_commands.py:")
        assert len(pilot.app.faults) == 1, "said once at the end, however often it happened"
        await pilot.press("4")
        assert "fault" in await told(pilot, "ZeroDivisionError")


async def test_a_fault_while_the_history_is_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LiveFeed) -> bool:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(LiveFeed, "refresh", broken)
    async with app(Asked()).run_test(size=(119, 30)) as pilot:
        await told(pilot, "refresh failed: ZeroDivisionError")
