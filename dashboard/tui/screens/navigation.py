"""The commands that lead from screen to screen: down into what a row is about, and across to the other pages."""

from typing import Protocol

from dashboard.replay.feed import Feed
from dashboard.tui.screens.chart_pane import ChartView
from dashboard.tui.screens.help_pane import HelpPane, WordsPane
from dashboard.tui.screens.list_panes import AlertsPane, EventsPane, MembersPane, PlanPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.screens.pane import Pane
from dashboard.tui.screens.server_panes import GpuPane, ServerPane
from whisper_ops.errors import UserError


class House(Protocol):
    """What these commands need of the app."""

    feed: Feed
    looking: ChartView

    def page_screen(self) -> PageScreen:
        """The screen on top."""

    def go(self, pane: Pane) -> None:
        """Show a pane."""


class Ways:
    """Each `do_NAME` is a command of the registry."""

    def __init__(self, house: House) -> None:
        self._house = house

    def do_help(self, _: str) -> None:
        """Show what can be done here; pressed again, go on with that."""
        screen = self._house.page_screen()
        if not screen.close_help():
            self._house.go(HelpPane(screen.pane.PAGE))

    def do_words(self, _: str) -> None:
        """Show what the words mean; pressed again, go on with what was there."""
        screen = self._house.page_screen()
        if screen.pane.PAGE == WordsPane.PAGE:
            screen.back()
        else:
            self._house.go(WordsPane(screen.pane.PAGE))

    def do_open(self, _: str) -> None:
        """Open the row under the cursor."""
        screen = self._house.page_screen()
        if screen.sheet.cursor is not None:
            self.open_key(screen.sheet.cursor)

    def do_alerts(self, _: str) -> None:
        """Show the alerts."""
        self._house.go(AlertsPane())

    def do_busiest(self, _: str) -> None:
        """Show the GPU whose engine is busiest, of all servers that answer."""
        answering = [server for server in self._house.feed.world().servers if server.answer and not server.silent]
        busy = [
            (gpu.busy_ratio, server.name, gpu.gpu_id)
            for server in answering
            for gpu in (server.answer.gpus if server.answer else ())
            if gpu.busy_ratio is not None
        ]
        if not busy:
            raise UserError("no server says how busy its GPUs are")
        server_name, gpu_id = max(busy)[1:]
        self._house.go(GpuPane(server_name, gpu_id, self._house.feed.charts, self._house.looking))

    def do_events(self, _: str) -> None:
        """Show what happened."""
        self._house.go(EventsPane())

    def do_members(self, _: str) -> None:
        """Show the servers behind brokers."""
        self._house.go(MembersPane())

    def do_plan(self, _: str) -> None:
        """Show the plan of the server that one is at, or that the cursor is on."""
        self._house.go(PlanPane(self.server_at_hand()))

    def open_key(self, key: str) -> None:
        """Open what a row's key names: `server NAME`, `gpu NUMBER NAME`, an alert of a server, a broker's member."""
        kind, _, rest = key.partition(" ")
        if kind == "server":
            self._house.go(ServerPane(rest, self._house.feed.charts, self._house.looking))
        elif kind == "gpu":
            number, _, name = rest.partition(" ")
            self._house.go(GpuPane(name, int(number), self._house.feed.charts, self._house.looking))
        elif kind == "member":
            self._open_member(*rest.split("\t"))
        elif kind == "alert":
            self._house.go(ServerPane(rest.rsplit(" ", 1)[1], self._house.feed.charts, self._house.looking))

    def _open_member(self, broker: str, member: str) -> None:
        """The page of a server that is polled beside its broker."""
        servers = self._house.feed.world().servers
        said = next((one for server in servers if server.name == broker and server.answer
                     for one in server.answer.members or () if one.name == member), None)  # fmt: skip
        names = {server.name: server.answer.server_id if server.answer else None for server in servers}
        found = next(
            (name for name, own in names.items() if name == member or (own and said and own == said.server_id)), None
        )
        if found is None:
            raise UserError(f"{member} is seen through its broker alone; name its address too, and it has a page here")
        self._house.go(ServerPane(found, self._house.feed.charts, self._house.looking))

    def member_at_hand(self) -> tuple[str, str] | None:
        """The broker and the member that the cursor is on."""
        kind, _, rest = (self._house.page_screen().sheet.cursor or "").partition(" ")
        broker, _, member = rest.partition("\t")
        return (broker, member) if kind == "member" else None

    def server_at_hand(self) -> str | None:
        """The server that the screen is about, or that the cursor is on; where there is but one, that."""
        screen = self._house.page_screen()
        if isinstance(screen.pane, (ServerPane, GpuPane)):
            return screen.pane.server
        servers = self._house.feed.world().servers
        about = screen.pane.server if isinstance(screen.pane, PlanPane) else None
        return self._under_cursor() or about or (servers[0].name if len(servers) == 1 else None)

    def _under_cursor(self) -> str | None:
        screen = self._house.page_screen()
        kind, _, rest = (screen.sheet.cursor or "").partition(" ")
        if kind == "gpu":
            return rest.partition(" ")[2]
        if kind == "member":
            return rest.partition("\t")[0]
        if kind == "alert":
            return rest.rsplit(" ", 1)[1]
        return rest if kind == "server" else None
