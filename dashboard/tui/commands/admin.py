"""Commands that change a server, each after a question: drain, undrain, limit."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from dashboard.tui.commands.targets import ServerTarget, target
from dashboard.tui.pages.command import Command
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.units import whole

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext


def drain(context: "AppContext", _: str) -> None:
    to = _changeable(context)
    name, state = _name_and_state(to)
    if state == "draining":
        raise UserError(f"{name} is draining already")
    if to.member is not None:
        effect = f"{to.server} sends it no new stream; its open streams go on."
    elif to.is_broker:
        effect = "No server behind it gets a new stream; open ones go on. To drain one of them: 6, then :drain."
    else:
        effect = "Open streams go on; new ones are refused until :undrain."
    what = f"the broker {name}" if to.is_broker and to.member is None else name
    context.confirm(f"Drain {what}?\n\n{effect}", lambda: call_server(context, to.admin.drain(to.server, to.member)))


def undrain(context: "AppContext", _: str) -> None:
    to = _changeable(context)
    name, state = _name_and_state(to)
    if state not in {None, "draining"}:
        raise UserError(f"{name} is not draining: it accepts new streams")
    context.confirm(
        f"Let {name} accept new streams again?",
        lambda: call_server(context, to.admin.undrain(to.server, to.member)),
    )


def limit(context: "AppContext", text: str) -> None:
    to = _changeable(context)
    streams = whole(text, 100_000)
    if not streams:
        raise UserError("say how many streams a GPU may carry, as in :limit 18")
    per = f"{counted(streams, 'stream')} per {to.device}"
    if streams == to.figures.slots_per_gpu:
        raise UserError(f"{to.server} admits {per} already")
    what = f"every server behind {to.server}" if to.is_broker else to.server
    context.confirm(
        f"Set the limit of {what} to {per}?\n\nStreams over it go on to their end.",
        lambda: call_server(context, to.admin.limit(to.server, streams, to.device)),
    )


def call_server(context: "AppContext", call: Awaitable[str]) -> None:
    """Call a server beside the event loop's other work, and tell what came of it."""

    async def work() -> None:
        try:
            context.tell(await call)
        except UserError as error:
            context.tell(str(error))

    context.app.run_worker(work(), group="actions", exit_on_error=False)


def _changeable(context: "AppContext") -> ServerTarget:
    """The server to change, where that is allowed: only then is anything asked."""
    to = target(context)
    to.admin.check_token()
    return to


def _name_and_state(to: ServerTarget) -> tuple[str, str | None]:
    """Of the member that is meant, else of the server."""
    if to.member is None:
        return to.server, to.figures.status
    return to.member, None if to.member_answer is None else to.member_answer.state


COMMANDS = (
    Command(
        name="drain", run=drain, group="act",
        help="Admit no new stream (behind a broker: to the server under the cursor). Needs the admin token.",
    ),
    Command(name="undrain", run=undrain, group="act", help="Admit new streams again. Needs the admin token."),
    Command(
        name="limit", run=limit, group="act", argument="18",
        help="How many streams each GPU admits. Needs the admin token.",
    ),
)  # fmt: skip
