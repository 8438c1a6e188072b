"""Which server a command is about: the one under the cursor, or of the page; and what is known of it."""

from typing import TYPE_CHECKING, NamedTuple

from dashboard.device_names import noun
from dashboard.tui.pages.row_keys import row_target
from dashboard.world import ServerView
from whisper_ops.errors import UserError
from whisper_ops.snapshot import ServerFigures
from whisper_ops.wire import Member

if TYPE_CHECKING:
    from dashboard.admin_client import Admin
    from dashboard.tui.screens.app_context import AppContext


class ServerTarget(NamedTuple):
    """A server that can be acted on now, as it answered last."""

    admin: "Admin"
    server: str
    view: ServerView
    member: str | None = None
    """The server behind this broker that the cursor is on."""

    @property
    def figures(self) -> ServerFigures:
        """What it reported; all unknown where it reported nothing."""
        return (self.view.answer.figures if self.view.answer else None) or ServerFigures()

    @property
    def device(self) -> str:
        """What its limit is counted for: GPU or CPU."""
        return device_of(self.view)

    @property
    def is_broker(self) -> bool:
        """Whether it answers for servers behind it."""
        return self.view.answer is not None and self.view.answer.members is not None

    @property
    def member_answer(self) -> Member | None:
        """What the broker reports of the member under the cursor."""
        members = (self.view.answer.members if self.view.answer else None) or ()
        return next((member for member in members if member.name == self.member), None)


def device_of(view: ServerView) -> str:
    """What a server runs on: GPU or CPU."""
    return noun(view.answer.gpus if view.answer else ())


def target_server(context: "AppContext") -> str | None:
    """The server under the cursor, else that of the page; where there is but one, that."""
    row = row_target(context.screen.sheet.cursor)
    if row is not None:
        return row.server
    servers = context.feeds.world().servers
    return context.screen.pane.server or (servers[0].name if len(servers) == 1 else None)


def target(context: "AppContext") -> ServerTarget:
    """The server to act on.

    Raises:
        UserError: nothing may be done here, no server is meant, or it does not answer.
    """
    if context.admin is None:
        raise UserError("this dashboard is read-only: it was started with --read-only, or without a server")
    if context.feeds.is_replay:
        raise UserError("the past cannot be changed; L goes back to the present")
    server = target_server(context)
    if server is None:
        raise UserError("put the cursor on a server first; 1 shows them")
    context.admin.url(server)
    view = context.feeds.world().server(server)
    if view is None or view.silent or view.answer is None:
        raise UserError(f"{server} does not answer; try again when it does")
    row = row_target(context.screen.sheet.cursor)
    return ServerTarget(context.admin, server, view, None if row is None else row.member)
