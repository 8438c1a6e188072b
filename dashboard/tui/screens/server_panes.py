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

    def __init__(self, name: str, source: ChartSource, view: ChartView) -> None:
        super().__init__(source, view)
        self.server = self._name = name

    def page(self, world: World, width: int, height: int) -> Page:
        return server_page.server_page(world, self._name, self.data_at_cursor, width, height)

    def charts(self, world: World) -> Sequence[Chart]:
        return server_page.charts_of(world, self._name)


class GpuPane(ChartedPane):
    """One GPU."""

    PAGE: ClassVar[str] = "gpu"

    def __init__(self, name: str, gpu_id: int, source: ChartSource, view: ChartView) -> None:
        super().__init__(source, view)
        self.server = self._name = name
        self._gpu_id = gpu_id

    def page(self, world: World, width: int, height: int) -> Page:
        return gpu_page.gpu_page(world, self._name, self._gpu_id, self.data_at_cursor, width, height)

    def charts(self, world: World) -> Sequence[Chart]:
        return gpu_page.charts_of(world, self._name, self._gpu_id)
