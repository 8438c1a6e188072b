"""The servers behind brokers: counted, sorted, each with what is free, how old that is, and why it gets no streams."""

from collections.abc import Sequence

import httpx
import msgspec
import pytest

from dashboard.admin_client import Admin
from dashboard.fleet_state import FleetState
from dashboard.polling.poller import Pollers
from dashboard.replay.feed import LiveFeed
from dashboard.tui.app import DashApp
from dashboard.tui.pages.broker_members import members_of_all
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.members_page import members_page
from dashboard.tui.pages.once_table import members_table
from dashboard.world import World
from tests.dashboard.scenes import MEMBERS, NOW, broker, gpu, lost, member, silence, snapshot
from tests.dashboard.tui.piloting import Asked, say, screen_text, settled
from whisper_ops.snapshot import Snapshot
from whisper_ops.wire import Member


def world(*polls: Snapshot, now: float = NOW) -> World:
    board = FleetState()
    for poll in polls:
        board.take(poll)
    return board.world(now)


def rows(text: str, *names: str) -> dict[str, str]:
    """The row of each server."""
    lines = text.splitlines()
    return {name: next(line for line in lines if f" {name} " in f"{line} ") for name in names}


def test_every_state_has_its_word_and_the_worst_comes_first() -> None:
    shown = world(broker(MEMBERS))
    words = {one.answer.name: one.state.word for one in members_of_all(shown)}
    assert words == {
        "asr-1": "healthy", "asr-2": "full", "asr-3": "draining", "asr-4": "lost", "asr-5": "late", "asr-6": "degraded",
        "asr-7": "stale", "asr-8": "starting", "asr-9": "silent", "twin-of-1": "twice", "asr-10": "healthy",
    }  # fmt: skip
    order = [one.answer.name for one in members_of_all(shown)]
    assert order[:6] == ["asr-4", "asr-9", "asr-5", "asr-6", "asr-7", "asr-2"]


@pytest.mark.parametrize("width", [59, 79, 119, 199])
def test_the_answer_is_at_the_top_and_no_line_is_too_long(width: int) -> None:
    page = members_page(world(broker(MEMBERS)), width)
    head = " ".join(" ".join(line.text for line in page.head).split())
    assert "free 36 of 64 slots" in head
    for counted in ("✕ 1 lost", "✕ 1 silent", "▲ 1 late", "◆ 1 full", "▽ 1 draining", "● 2 healthy"):
        assert counted in head
    assert all(len(line.text.rstrip()) <= width for line in (*page.head, *page.body))


def test_a_row_says_what_is_free_how_old_that_is_and_why_it_gets_nothing() -> None:
    text = members_page(world(broker(MEMBERS), now=NOW + 2), 119).text
    its = rows(text, "asr-1", "asr-2", "asr-3", "asr-4", "asr-7", "asr-10")
    assert its["asr-1"].split()[-6:] == ["5", "2", "0.40", "s", "2", "s"]
    assert "8/8" in its["asr-2"]
    assert its["asr-4"].split()[-2:] == ["45", "s"], "the age of its last answer, by now"
    assert "/" not in its["asr-4"], "no old figure stands as the present"
    assert "—" in its["asr-10"], "a lag of streams that are gone is nobody's"
    said = " ".join(text.split())
    assert "the connection was refused" in said
    assert "no new stream is sent there; 2 streams left; :undrain ends that" in said
    assert "is the same server as asr-1" in said
    assert "1 GPU failed" in said


def test_two_brokers_one_server_one_row_by_the_broker_that_reaches_it() -> None:
    one = broker((member("asr-1", age_seconds=0.9), lost("asr-2", server_id="id-asr-2")))
    other = broker((member("10.0.0.1:8000", server_id="id-asr-1"), member("asr-2")), "broker-2")
    found = {member.answer.server_id: member for member in members_of_all(world(one, other))}
    assert len(found) == 2
    assert found["id-asr-1"].broker == "broker-2", "the newer reading"
    assert found["id-asr-2"].state.word == "healthy"
    text = members_page(world(one, other), 119).text
    assert "not reached by broker-1" in text
    assert "2 brokers" in text


def test_a_server_that_a_broker_never_reached_is_the_one_that_another_knows() -> None:
    never = lost("asr-1", "was not asked yet", server_id=None, age_seconds=None)
    (found,) = members_of_all(world(broker((never,)), broker((member("asr-1"),), "broker-2")))
    assert (found.broker, found.state.word, found.unreached_by) == ("broker-2", "healthy", ("broker-1",))
    (found,) = members_of_all(world(broker((never,)), broker((never,), "broker-2")))
    assert found.state.word == "silent"


def test_a_broker_that_is_silent_leaves_what_it_said_and_its_age() -> None:
    text = members_page(world(broker(MEMBERS[:1], at=NOW - 60), silence("broker-1", NOW)), 119).text
    assert "no answer: " in text
    assert "stale" in rows(text, "asr-1")["asr-1"]


def test_where_there_is_no_broker_the_page_says_what_one_is() -> None:
    text = " ".join(members_page(world(snapshot("one", NOW, (gpu(0, 1, 0.1),))), 79).text.split())
    assert "no broker is watched" in text
    assert "whisper-ops broker URL…" in text
    past = msgspec.structs.replace(world(snapshot("one", NOW, (gpu(0, 1, 0.1),))), mode="replay")
    assert "is not recorded, only their totals" in members_page(past, 119).text


def test_the_row_of_a_broker_says_which_of_its_servers_are_not_well() -> None:
    text = " ".join(fleet_page(world(broker(MEMBERS)), FleetView(expand="closed"), 119).text.split())
    assert "slots are taken" not in text, "it is not its slots"
    assert "of 11 servers 1 lost: asr-4; 1 silent: asr-9; 1 late: asr-5" in text
    assert len(fleet_page(world(broker(MEMBERS[:1])), FleetView(expand="closed"), 119).body) == 1, "all well: no word"


def test_once_prints_the_servers_too() -> None:
    assert members_table(world(snapshot("one", NOW, (gpu(0, 1, 0.1),)))) is None
    table = members_table(world(broker(MEMBERS)))
    assert table is not None
    assert table.row_count == len(MEMBERS)


def app(asked: Asked, members: Sequence[Member] = MEMBERS) -> DashApp:
    live = LiveFeed(Pollers([]), None, None)
    live.take(broker(members))
    live.take(msgspec.structs.replace(snapshot("first", NOW, (gpu(0, 1, 0.1),)), server_id="id-asr-1"))
    return DashApp(live, admin=Admin({"broker-1": "http://broker-1:8000"}, "secret", httpx.MockTransport(asked)))


async def at(pilot_app: DashApp, name: str) -> None:
    """Put the cursor on a member."""
    pilot_app.context.screen.sheet.select(f"member broker-1\t{name}")


async def test_a_member_is_drained_and_undrained_from_its_row() -> None:
    asked = Asked()
    async with app(asked).run_test(size=(120, 45)) as pilot:
        assert isinstance(pilot.app, DashApp)
        await pilot.press("6")
        await pilot.pause()
        await at(pilot.app, "asr-5")
        await say(pilot, "drain")
        assert "Drain asr-5?" in screen_text(pilot)
        await pilot.press("y")
        assert "asr-5 is draining" in await settled(pilot)
        await at(pilot.app, "asr-3")
        await say(pilot, "drain")
        assert "asr-3 is draining already" in screen_text(pilot)
        await say(pilot, "undrain")
        await pilot.press("y")
        await settled(pilot)
        await at(pilot.app, "asr-5")
        await say(pilot, "undrain")
        assert "asr-5 is not draining" in screen_text(pilot)
    assert [(request.method, request.content) for request in asked.requests] == [
        ("POST", b'{"member":"asr-5"}'),
        ("DELETE", b'{"member":"asr-3"}'),
    ]


async def test_enter_opens_a_member_that_is_polled_itself_and_says_so_of_others() -> None:
    async with app(Asked()).run_test(size=(120, 45)) as pilot:
        assert isinstance(pilot.app, DashApp)
        await pilot.press("m")
        await pilot.pause()
        await at(pilot.app, "asr-2")
        await pilot.press("enter")
        await pilot.pause()
        assert "asr-2 is known through its broker alone" in screen_text(pilot)
        await at(pilot.app, "asr-1")
        await pilot.press("enter")
        await pilot.pause()
        assert "fleet › first" in screen_text(pilot)
