"""The first and the last line of every screen: where one is, and what one can do from here."""

from collections.abc import Iterable

from dashboard import figure_text as f
from dashboard.device_names import devices_counted
from dashboard.tui.pages.command import Command, key_text
from dashboard.tui.pages.styled_lines import Cell, Line, TextSpan, cut, width_of, wrapped
from dashboard.world import World
from whisper_ops.formatting import counted

_ALWAYS = ("help", "quit")
_IN_HELP = {"help": "close", "quit": "close"}
"""What these do there: they close it."""
_MESSAGE_LINES = 4
_MODES: dict[str, TextSpan] = {
    "live": TextSpan("● live", "ok"),
    "paused": TextSpan("‖ paused", "warn", "pause"),
    "replay": TextSpan("◀ replay", "note"),
}


def title_line(world: World, crumbs: tuple[str, ...], width: int) -> Line:
    """Breadcrumbs at the left; the moment, the mode and what the dashboard itself costs at the right."""
    where: list[TextSpan] = [TextSpan(" whisper-ops ", "accent")]
    for i, crumb in enumerate(crumbs):
        last = i == len(crumbs) - 1
        where += [
            TextSpan(" › " if i else "  ", "dim"),
            TextSpan(crumb, "title" if last else "label", None if last else "back"),
        ]
    status = _status(world)
    keep = 3 if any(server.simulated for server in world.servers) else 2
    while len(status) > keep and width_of(where) + width_of(status) + 1 > width:
        status.pop()
    spare = max(1, width - width_of(where) - width_of(status))
    return Line(cut((*where, TextSpan(" " * spare), *status), width))


def _status(world: World) -> list[TextSpan]:
    """The pieces of the right side, those that may be left out last."""
    when = f.moment(world.now) if world.mode == "replay" else f.clock(world.now)
    pieces = [TextSpan(f"{when}  "), _MODES[world.mode]]
    if any(server.simulated for server in world.servers):
        pieces[1:] = [
            _MODES[world.mode],
            TextSpan(" simulated" if _all_simulated(world) else " partly simulated", "note"),
        ]
    if world.mode == "replay":
        pieces.append(TextSpan(f" {world.speed:g}x " if world.speed else " stopped ", "dim"))
    answered = [server.answer for server in world.servers if server.answer]
    gpus = f" · {devices_counted(gpu for answer in answered for gpu in answer.gpus)}" if answered else ""
    pieces.append(TextSpan(f"  {counted(len(world.servers), 'server')}{gpus} ", "dim"))
    if world.mode != "replay":
        poll = f"· poll {world.interval:g} s"
        if world.cost.poll_p95_seconds is not None:
            poll += f" in {f.milliseconds(world.cost.poll_p95_seconds)}"
        pieces.append(TextSpan(f"{poll} ", "dim"))
        if world.cost.cpu_ratio is not None:
            pieces.append(TextSpan(f"· self {f.percent(world.cost.cpu_ratio)} cpu ", "dim"))
    return pieces


def _all_simulated(world: World) -> bool:
    return all(server.simulated for server in world.servers if server.answer is not None)


def caption_line(text: str, width: int) -> Line:
    """What is going on, in somebody else's words."""
    return Line(cut((TextSpan(" ▶ ", "note"), TextSpan(text, "title")), width))


def message_lines(text: str, width: int) -> list[Line]:
    """A sentence in the place of the footer, broken between words; one of very many lines ends with `…`."""
    lines = wrapped(text, width, " ", "note")
    if len(lines) <= _MESSAGE_LINES:
        return lines
    last = TextSpan(f"{lines[_MESSAGE_LINES - 1].text} …", "note")
    return [*lines[: _MESSAGE_LINES - 1], Line(cut((last,), width))]


def footer_line(commands: Iterable[Command], page: str, width: int, *, replaying: bool = False) -> Line:
    """The commands that belong to the footer and work here, as many as there is room for."""
    offered = [c for c in commands if c.footer is not None and c.works_on(page, replaying=replaying)]
    # Help and the way out are always there; in a replay its own keys come before the others.
    always = [command for command in offered if command.name in _ALWAYS]
    room = width - 1 - sum(width_of(_key(command, page)) for command in always)
    kept = []
    for command in sorted(offered, key=lambda command: not (replaying and command.group == "replay")):
        if command not in always and width_of(_key(command, page)) <= room:
            room -= width_of(_key(command, page))
            kept.append(command)
    order = [always[0], *kept, *always[1:]] if always else kept
    return Line((TextSpan(" "), *(span for command in order for span in _key(command, page))))


def _key(command: Command, page: str) -> Cell:
    word = _IN_HELP.get(command.name, command.footer) if page in ("help", "words") else command.footer
    return (TextSpan(key_text(command.keys[0]), "key", command.name), TextSpan(f" {word}  ", "dim", command.name))
