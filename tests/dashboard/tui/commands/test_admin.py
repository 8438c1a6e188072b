"""Changing a server: asked first, done with the admin token, then told; where it cannot be done it is not asked."""

import time

import pytest

from dashboard.admin_client import Admin
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.screens.confirmation import ConfirmationScreen
from tests.dashboard.scenes import NOW, gpu, silence, snapshot
from tests.dashboard.tui.piloting import Asked, app, say, screen_text, settled, told
from whisper_ops.errors import UserError
from whisper_ops.snapshot import Snapshot


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


async def test_a_tick_after_the_screens_were_closed_is_nothing() -> None:
    closed = app(Asked())
    async with closed.run_test(size=(100, 30)):
        pass
    assert isinstance(closed, DashApp)
    assert not closed.screen_stack
    closed.repaint()


async def test_a_dashboard_that_only_looks_does_nothing() -> None:
    live = LiveFeed(Pollers([]), None, None)
    live.take(snapshot("asr-1", NOW, (gpu(0, 7, 0.4),)))
    async with DashApp(live).run_test(size=(100, 30)) as pilot:
        await say(pilot, "drain")
        assert "read-only" in screen_text(pilot)


def test_a_server_without_a_known_address_is_a_sentence() -> None:
    with pytest.raises(UserError, match="other can only be watched"):
        Admin({}, "token").url("other")
