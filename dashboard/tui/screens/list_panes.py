"""The screens that list what is known: alerts, events, and the plan."""

from typing import ClassVar

from dashboard.tui.pages.alerts_page import alerts_page
from dashboard.tui.pages.events_page import events_page
from dashboard.tui.pages.members_page import members_page
from dashboard.tui.pages.plan_page import plan_page
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.screens.pane import Pane
from dashboard.world import World


class AlertsPane(Pane):
    """Active alerts and past ones."""

    PAGE: ClassVar[str] = "alerts"

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return alerts_page(world, width)


class EventsPane(Pane):
    """What happened."""

    PAGE: ClassVar[str] = "events"

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return events_page(world, width)


class MembersPane(Pane):
    """The servers behind brokers."""

    PAGE: ClassVar[str] = "members"

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return members_page(world, width)


class PlanPane(Pane):
    """The limit and its reason."""

    PAGE: ClassVar[str] = "plan"

    def __init__(self, server: str | None) -> None:
        self.server = server

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return plan_page(world, self.server, width)
