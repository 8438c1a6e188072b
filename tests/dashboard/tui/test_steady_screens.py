"""What moves nothing: figures that grow, reasons that come and go; and charts that use the height there is."""

import msgspec
import pytest

from dashboard.chart_data import ChartData
from dashboard.fleet_state import FleetState
from dashboard.monitoring.change_events import ChangeEvents
from dashboard.tui.pages.chart import chart_columns
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.frame import title_line
from dashboard.tui.pages.gpu_page import charts_of as charts_of_gpu
from dashboard.tui.pages.gpu_page import gpu_page
from dashboard.tui.pages.once_table import table
from dashboard.tui.pages.plan_page import plan_page
from dashboard.tui.pages.server_page import charts_of, server_page
from dashboard.tui.pages.styled_lines import Page
from dashboard.world import World
from tests.dashboard.scenes import IDENTITY, NOW, MadeCharts, gpu, plan_of, silence, snapshot, world
from whisper_ops.console import PlainConsole
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot

WIDTHS = (79, 99, 119, 139, 199)


def moments(*, trouble: str | None = None) -> list[World]:
    """The same two servers: idle, full of figures with many digits, and silent."""
    made = []
    for streams, lag, more in ((1, 0.4, {}), (9999, 123.4, {"failed_total": 12_345, "rejected_total": 99_999})):
        board = FleetState()
        board.plans = (plan_of(),)
        board.take(snapshot("one", NOW, (gpu(0, streams, lag), gpu(1, streams, lag)), "critical", **more))
        board.take(snapshot("two", NOW, (gpu(0, 1, 0.1),)))
        made.append(msgspec.structs.replace(board.world(NOW), trouble=trouble))
    return made


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_the_fleet_stays_where_it_is(width: int) -> None:
    worlds = (*moments(), *moments(trouble="the history takes no rows: the disk is full"))
    pages = [fleet_page(each, view, width) for each in worlds for view in (FleetView(), FleetView(filter="lag>0"))]
    assert len({len(page.head) for page in pages}) == 1, [page.text for page in pages]
    assert all(len(line.text) <= width for page in pages for line in page.head)
    assert any("the disk is full" in page.text for page in pages)
    assert any("filter lag>0" in page.text for page in pages)


def line_of(page: Page, sign: str) -> int:
    return next(i for i, line in enumerate((*page.head, *page.body)) if sign in line.text)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_server_stays_where_it_is(width: int) -> None:
    pages = [server_page(each, name, ChartData(), width) for each in moments() for name in ("one", "two")]
    calm = [page for page in pages if len(page.head) <= 2]
    assert len(calm) >= 3, "a reason that takes one line moves nothing"
    assert len({line_of(page, "streams") for page in calm}) == 1, [page.text for page in calm]


@pytest.mark.parametrize("size", [(79, 22), (119, 38), (199, 48), (199, 98)])
def test_charts_use_the_height_there_is(size: tuple[int, int]) -> None:
    width, height = size
    shown = world()
    for page in (
        server_page(
            shown, "asr-fra-02", MadeCharts().read(charts_of(shown, "asr-fra-02"), NOW, 2, chart_columns(width)), *size
        ),
        gpu_page(
            shown,
            "asr-fra-02",
            3,
            MadeCharts().read(charts_of_gpu(shown, "asr-fra-02", 3), NOW, 2, chart_columns(width)),
            *size,
        ),
    ):
        empty = height - len(page.head) - len(page.body)
        assert empty < 6 or height > 90, page.text
        assert width < 100 or empty >= -10, "and not much more than there is"


def cpu_server(name: str = "one", **said: object) -> Snapshot:
    only = gpu(
        0, 3, 0.4, name="CPU", uuid=None, temperature_celsius=None, power_watts=None, power_limit_watts=None, **said
    )
    made = snapshot(name, NOW, (only,))
    identity = msgspec.structs.replace(IDENTITY, gpu_name="CPU")
    return msgspec.structs.replace(made, identity=identity)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cpu_is_called_neither_gpu_nor_vram(width: int) -> None:
    board = FleetState()
    plan = plan_of(gpu_name="CPU", reason="")
    board.plans = (msgspec.structs.replace(plan, reason="late", resources=(), runner_up=None, sure=""),)
    board.take(cpu_server())
    shown = board.world(NOW)
    held = MadeCharts().read(charts_of(shown, "one"), NOW, 2, chart_columns(width))
    console = PlainConsole(width=200)
    with console.capture() as printed:
        console.print(table(shown))
    texts = {
        "fleet": fleet_page(shown, FleetView(expand="open"), width).text,
        "server": server_page(shown, "one", held, width).text,
        "device": gpu_page(
            shown, "one", 0, MadeCharts().read(charts_of_gpu(shown, "one", 0), NOW, 2, chart_columns(width)), width
        ).text,
        "plan": plan_page(shown, "one", width).text,
        "title": title_line(shown, gpu_page(shown, "one", 0, held, width).crumbs, 200).text,
        "once": printed.get(),
    }
    for page, text in texts.items():
        assert "gpu" not in text.lower(), (page, text)
        assert "vram" not in text.lower(), (page, text)
        assert "temp" not in texts["server"]
    assert "1 CPU" in texts["title"]
    assert "└ cpu" in texts["fleet"]


def run(*identities: Identity | None) -> list[tuple[str, str]]:
    happenings, events = ChangeEvents(), []
    for second, identity in enumerate(identities):
        made = snapshot("one", NOW + second, (gpu(0, 1, 0.1),))
        events += happenings.take(msgspec.structs.replace(made, identity=identity))
    return [(event.kind, event.detail) for event in events]


def test_what_becomes_known_is_no_event_and_what_changed_meanwhile_is_one() -> None:
    loading = msgspec.structs.replace(IDENTITY, compute_type=None)
    int8 = msgspec.structs.replace(IDENTITY, compute_type="int8")
    assert run(loading, IDENTITY, loading, IDENTITY, None, IDENTITY) == []
    assert run(IDENTITY, loading, int8) == [("precision", "float16 to int8")]
    assert run(IDENTITY, None, None, int8, int8) == [("precision", "float16 to int8")]


def test_each_server_is_told_by_the_objective_that_it_is_furthest_in() -> None:
    board = FleetState()
    strict = plan_of(objective="stable_p95_seconds<=2,first_p95_seconds<=1", server="one", model="tiny.en")
    board.plans = (plan_of(), strict)
    tiny = msgspec.structs.replace(IDENTITY, model="tiny.en")
    board.take(msgspec.structs.replace(snapshot("one", NOW, (gpu(0, 3, 0.9),)), identity=tiny))
    board.take(snapshot("two", NOW, (gpu(0, 3, 1.2),)))
    text = fleet_page(board.world(NOW), FleetView(), 139).text
    assert "worst lag p95 0.90 s of 1 s" in text, "0.9 of 1 is nearer to too late than 1.2 of 2"
    board.take(silence("one", NOW + 1))
    assert "worst lag p95 1.20 s of 2 s" in fleet_page(board.world(NOW + 1), FleetView(), 139).text


def test_a_plan_measured_at_the_address_of_a_named_server_is_its_own() -> None:
    board = FleetState()
    board.plans = (
        plan_of(server="asr-1:8000", max_connections_per_gpu=7, created_at=NOW - 50),
        plan_of(server="asr-2:8000", max_connections_per_gpu=11, created_at=NOW - 10),
    )
    board.addresses = {"fra": "asr-1:8000", "ams": "asr-2:8000"}
    for name in ("fra", "ams"):
        board.take(snapshot(name, NOW, (gpu(0, 3, 0.4),)))
    shown = board.world(NOW)
    assert {server.name: server.planned and server.planned.per_gpu for server in shown.servers} == {"fra": 7, "ams": 11}
    text = plan_page(shown, "fra", 119).text
    assert "for fra, measured on it" in text
    assert "asr-1:8000" not in text, "one server has one name"
