"""The server screen and the GPU screen."""

from collections.abc import Sequence
from typing import ClassVar

from dashboard.chart_data import Chart
from dashboard.replay.chart_reader import ChartSource
from dashboard.tui.pages import gpu_page, server_page
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.screens.chart_pane import ChartedPane, ChartView
from dashboard.world import World


class ServerPane(ChartedPane):
    """One server."""

    PAGE: ClassVar[str] = "server"

    def __init__(self, name: str, source: ChartSource, looking: ChartView) -> None:
        super().__init__(source, looking)
        self.server = name

    def page(self, world: World, width: int, height: int) -> Page:
        """The server."""
        return server_page.server_page(world, self.server, self.held, width, height)

    def wanted(self, world: World) -> Sequence[Chart]:
        """Its charts."""
        return server_page.charts_of(world, self.server)


class GpuPane(ChartedPane):
    """One GPU."""

    PAGE: ClassVar[str] = "gpu"

    def __init__(self, name: str, gpu_id: int, source: ChartSource, looking: ChartView) -> None:
        super().__init__(source, looking)
        self.server = name
        self.gpu_id = gpu_id

    def page(self, world: World, width: int, height: int) -> Page:
        """The GPU."""
        return gpu_page.gpu_page(world, self.server, self.gpu_id, self.held, width, height)

    def wanted(self, world: World) -> Sequence[Chart]:
        """Its charts."""
        return gpu_page.charts_of(world, self.server, self.gpu_id)
