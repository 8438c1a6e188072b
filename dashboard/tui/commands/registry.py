"""The one list of what the dashboard can do. Bindings, footer, `?` help, palette, `:` prompt and docs all read it.

A command is added in the module of its subject. These modules import neither textual nor httpx: the first frame, which
is painted before anything heavy is loaded, has a footer too.
"""

from dashboard.tui.commands import admin, background, charts, pages, replay, rows, tools
from dashboard.tui.pages.command import Command

COMMANDS: tuple[Command, ...] = (
    *pages.COMMANDS,
    *charts.COMMANDS,
    *rows.COMMANDS,
    *replay.COMMANDS,
    *admin.COMMANDS,
    *background.COMMANDS,
    *tools.COMMANDS,
)
