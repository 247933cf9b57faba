"""Actions of every screen with charts: zoom, move, inspect, smooth. Its `ACTIONS` have an entry for each."""

from textual import work

from screens.base import FtScreen
from screens.charts.controls import ChartControls, Exported, rougher, smoother


class ChartScreen(FtScreen):
    """A screen with charts, of which `controls` knows the chosen one."""

    controls: ChartControls

    @work(exclusive=True, group="smooth")
    async def _smooth(self, weight: float) -> None:
        self.host.change(smoothing=weight)
        await self.smooth(weight)

    async def smooth(self, weight: float) -> None:
        """Smooth the curves with this weight of the past, 0 to 1."""
        raise NotImplementedError

    def on_exported(self, message: Exported) -> None:
        self.notify("\n".join(map(str, message.files)), title="Chart saved")

    def action_zoom_in(self) -> None:
        self.controls.zoom_in()

    def action_zoom_out(self) -> None:
        self.controls.zoom_out()

    def action_pan_left(self) -> None:
        self.controls.move(-1)

    def action_pan_right(self) -> None:
        self.controls.move(1)

    def action_reset(self) -> None:
        self.controls.reset()

    def action_inspect(self) -> None:
        self.controls.inspect()

    def action_smoother(self) -> None:
        self._smooth(smoother(self.host.preferences.smoothing))

    def action_rougher(self) -> None:
        self._smooth(rougher(self.host.preferences.smoothing))
