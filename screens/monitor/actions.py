"""What keys do in Monitor to the run that it shows, and to how the charts draw it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import work

from engine import paths
from engine.runs.curves.series import AXES
from screens.monitor import status
from screens.monitor.charts import Options
from screens.monitor.run_screen import RunScreen
from screens.widgets.confirm import Confirm

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)


class MonitorActions(RunScreen):
    """The base of `MonitorScreen`, which shows the run."""

    RUN_ACTIONS: ClassVar[frozenset[str]] = frozenset({"chat", "log", "axis", "smoother", "rougher", "tab"})

    def __init__(self) -> None:
        super().__init__()
        self.options = Options()
        self._weight = self.options.smoothing
        """Of the past in smoothed lines; the lines follow when they are ready."""

    def draw_now(self) -> None:
        """Draw everything anew, as `options` say."""
        raise NotImplementedError

    # Actions on the run

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        view = self.view
        if action in ("pause", "save", "stop"):
            return view is not None and bool(view.alive)
        if action == "resume":
            return view is not None and view.alive is False and not view.gone
        if action in self.RUN_ACTIONS:
            return view is not None
        if action == "machine":
            return view is not None or bool(self.host.runs)
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        if self.view is not None:
            self.tell_engine("resume" if self.view.state.status == "paused" else "pause")

    def action_save(self) -> None:
        self.tell_engine("save")

    @work
    async def action_stop(self) -> None:
        view = self.view
        if view is None:
            return
        question = f"Stop training {status.name(view.run_id)}?"
        details = "It saves a checkpoint and ends. r goes on from there."
        if await self.app.push_screen_wait(Confirm(question, "Stop", details)) and self.view is view:
            self.tell_engine("stop")

    @work(group="resume", exclusive=True)
    async def action_resume(self) -> None:
        if self.view is not None:
            await self.host.resume_run(self.view.run_id)

    def action_chat(self) -> None:
        if self.view is not None:
            self.host.chat_with(self.view.run_id)

    # How the charts are drawn

    def chart_folder(self) -> Path:
        return paths.home() / "charts" / (self.view.run_id if self.view else "machine")

    def action_log(self) -> None:
        self._draw_with(replace(self.options, log=not self.options.log))

    def action_axis(self) -> None:
        following = AXES[(AXES.index(self.options.axis) + 1) % len(AXES)]
        self._draw_with(replace(self.options, axis=following))
        for chart in self.charts:
            chart.reset()

    def action_smoother(self) -> None:
        self._smooth(next((w for w in SMOOTHINGS if w > self._weight), SMOOTHINGS[-1]))

    def action_rougher(self) -> None:
        self._smooth(next((w for w in reversed(SMOOTHINGS) if w < self._weight), SMOOTHINGS[0]))

    def _smooth(self, weight: float) -> None:
        self._weight = weight
        self.host.change(smoothing=weight)
        self._smooth_curves(weight)

    @work(exclusive=True, group="smooth")
    async def _smooth_curves(self, weight: float) -> None:
        """Draw with this weight, when all is smoothed with it: a portion of a long run at a time."""
        if self.view is not None:
            for _ in self.view.smoothing(weight):
                await asyncio.sleep(0)
        self._draw_with(replace(self.options, smoothing=weight))

    def _draw_with(self, options: Options) -> None:
        self.options = options
        self.draw_now()
