"""The command palette, over the same registry as keys and help."""

from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider

from dashboard.tui.pages.command import Command, key_text
from dashboard.tui.screens.main_screen import PageScreen


class CommandProvider(Provider):
    """Every command that works on the screen below."""

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for command in self._commands():
            yield DiscoveryHit(_title(command), self._run(command), help=command.help)

    async def search(self, query: str) -> Hits:
        """Those whose name or help fits what is typed."""
        matcher = self.matcher(query)
        for command in self._commands():
            score = max(matcher.match(command.name), 0.8 * matcher.match(command.help))
            if score > 0:
                yield Hit(score, matcher.highlight(_title(command)), self._run(command), help=command.help)

    def _commands(self) -> list[Command]:
        if not isinstance(self.screen, PageScreen):
            return []
        page = self.screen.pane.PAGE
        return [one for one in self.screen.commands if one.works_on(page) and one.name != "palette"]

    def _run(self, command: Command) -> Any:  # noqa: ANN401  # textual's callback type
        return partial(self.app.run_action, f"app.command('{command.name}')")


def _title(command: Command) -> str:
    return f"{command.name}  ({key_text(command.keys[0])})" if command.keys else command.name
