"""The chart of the Runs screen: curves of the selected runs, or of the one under the cursor."""

import asyncio
import contextlib
from pathlib import Path

from textual import work
from textual.getters import query_one
from textual.timer import Timer
from textual.worker import Worker, get_current_worker

from engine import paths
from engine.errors import ConfigError, FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import AXES, AxisName, RunSeries
from engine.runs.curves.zoom import Part
from engine.runs.directory import registry
from engine.runs.index.index import RunSummary
from screens.base import FtScreen
from screens.charts.widget import Chart, Line
from screens.format import percent
from screens.runs.curve_reader import (
    SMOOTHED,
    CurveGrown,
    CurveRead,
    CurveReading,
    Curves,
    PartRead,
    Wanted,
    read_curve,
)
from screens.runs.table import NUMBERS, SLOTS, RunsTable, colour_of

BOTH_LOSSES = 3
"""So many runs at most are drawn with their held-out loss too; more would hide each other."""
SMOOTHING = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98)
SLOW_SHARE = 0.01
"""From here on it is told how much has been read; most files are read before anyone could."""
PAUSE_S = 0.12
"""How long the cursor has to rest on a run before its curve is read."""


class CurvesScreen(FtScreen):
    """A screen with a table of runs and a chart of some of them: reads the curves, and does what its keys say."""

    table = query_one(RunsTable)
    chart = query_one(Chart)

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[str, int] = {}
        """The selected runs, each with the number and colour that it keeps while it is selected."""
        self.curves = Curves()
        self.axis: AxisName = AXES[0]
        self._readers: dict[str, Worker[None]] = {}
        self._shares: dict[str, float] = {}
        """How much of each curve that is being read from its start has been read."""
        self._rest: Timer | None = None
        self._drawn: tuple[object, ...] = ()

    def on_curve_reading(self, message: CurveReading) -> None:
        if message.run_id in self._readers:
            self._shares[message.run_id] = message.share
            self._draw()

    def on_curve_read(self, message: CurveRead) -> None:
        self._shares.pop(message.run_id, None)
        self.curves.take(message)
        self._draw()

    def on_chart_moved(self) -> None:
        """Have read again what the chart shows little of, where that is a part of a long run."""
        if any(worker.group == "part" and worker.is_running for worker in self.workers):
            return  # looked at again when that is done
        for run, _ in self._shown():
            curve = self.curves.get(run.id)
            part = curve.series.missing(self.axis, *self.chart.view) if curve else None
            if curve and part:
                again = curve.series.again(part)
                self._read_part(run.id, run.folder / registry.EVENTS, part, again)
                return

    @work(thread=True, group="part")
    def _read_part(self, run_id: str, file: Path, part: Part, series: RunSeries) -> None:
        with contextlib.suppress(OSError):  # gone: the curve stays as it is
            zoom.read(file, part, series, get_current_worker().cancelled_event)
        for _ in series.smoothing(SMOOTHED, self.host.preferences.smoothing):
            pass
        self.post_message(PartRead(run_id, part, series))

    def on_part_read(self, message: PartRead) -> None:
        if curve := self.curves.get(message.run_id):
            curve.series.refine(message.part, message.series)
            self._draw()
        self.call_later(self.on_chart_moved)

    def on_curve_grown(self, message: CurveGrown) -> None:
        if self.curves.grow(message):
            self.chart.redraw()

    def _shown(self) -> list[tuple[RunSummary, int]]:
        """The runs whose curves are shown, with their colour's number: the selected, or the one at the cursor."""
        there = {run.id: run for run in self.host.runs}
        chosen = [(there[i], slot) for i, slot in self.slots.items() if i in there and slot < SLOTS]
        if chosen:
            return sorted(chosen, key=lambda pair: pair[1])
        return [(self.table.run, 0)] if self.table.run else []

    @property
    def settled(self) -> bool:
        """Whether the chart shows all that it is to show."""
        return self._drawn == self._key() and all(self.curves.get(run.id) for run, _ in self._shown())

    def _read_soon(self) -> None:
        """Read curves when the cursor has come to rest."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(PAUSE_S, self._read_now)

    def _read_now(self) -> None:
        """Read what is shown and not known yet; what is being read goes on, unless it is no longer shown."""
        self._draw()
        shown = {run.id: run for run, _ in self._shown()}
        for run_id in set(self._readers) - set(shown):
            self._readers.pop(run_id).cancel()
            self._shares.pop(run_id, None)
        for run in shown.values():
            held, reader = self.curves.get(run.id), self._readers.get(run.id)
            if reader is not None and not reader.is_finished:
                continue
            if held is None or run.alive or _newer(run, held.offset):
                weight = self.host.preferences.smoothing
                wanted = Wanted(run.id, run.folder, held.offset if held else None, weight)
                self._readers[run.id] = self._read(wanted)

    @work(thread=True, group="curves", exit_on_error=False)
    def _read(self, wanted: Wanted) -> None:
        worker = get_current_worker()
        read_curve(wanted, self.post_message, lambda: worker.is_cancelled)

    def _draw(self) -> None:
        """Give the chart the lines that are to be seen, where they are not the same as before."""
        if self._key() == self._drawn:
            return
        self._drawn = self._key()
        shown, weight = self._shown(), self.host.preferences.smoothing
        held = [(run, slot, self.curves.get(run.id)) for run, slot in shown]
        lines: list[Line] = []
        for run, slot, curve in held:
            if curve is None:
                continue
            label, colour = self._label(run, slot), colour_of(slot)
            mark = NUMBERS[slot] if self.slots else ""
            loss = curve.series.series("loss", self.axis)
            if len(held) == 1:
                lines.append(Line(label, loss, colour, "raw", mark))
            lines.append(Line(label, loss.smoothed(weight), colour, "smooth", mark))
            if len(held) <= BOTH_LOSSES:
                scores = curve.series.series("eval_loss", self.axis)
                lines.append(Line(f"{mark} held out".strip(), scores, colour, "points"))
        self.chart.set_lines(lines)
        self.chart.axis_label = self.axis
        self.chart.title = "loss" + (self._of_selected(len(shown)) if self.slots else "")
        smoothing = f"ema {weight:g}" if weight else "not smoothed"
        unread = [run.id for run, _, curve in held if curve is None]
        self.chart.note = " · ".join([smoothing, *([self._reading(unread)] if unread and lines else [])])
        self.chart.empty = f"{self._reading(unread)} …" if unread else "This run has no step yet."

    def _of_selected(self, shown: int) -> str:
        there = len({run.id for run in self.host.runs} & set(self.slots))
        return f" of {there} selected" if shown == there else f" of {shown} of {there} selected"

    def _reading(self, unread: list[str]) -> str:
        """How far those curves are that are not there yet."""
        share = sum(self._shares.get(run_id, 0.0) for run_id in unread) / len(unread)
        return f"Reading {percent(share)}" if share >= SLOW_SHARE else "Reading"

    def _key(self) -> tuple[object, ...]:
        """Equal where the chart would be given the same lines."""
        held = [(run.id, slot, self.curves.get(run.id)) for run, slot in self._shown()]
        curves = tuple(
            (run, slot, id(curve), curve.series.looks if curve else 0) for run, slot, curve in held
        )
        shares = tuple(round(self._shares.get(run.id, 0.0), 2) for run, _ in self._shown())
        return (self.axis, self.host.preferences.smoothing, curves, shares, len(self.slots))

    def _label(self, run: RunSummary, slot: int) -> str:
        return f"{NUMBERS[slot]} {run.name}" if self.slots else run.name

    def action_export(self) -> None:
        if not self.chart.lines:
            self.host.fail(
                ConfigError("There is no curve to save.", "Put the cursor on a run that has steps.")
            )
            return
        try:
            files = self.chart.export(paths.home() / "exports")
        except FtError as error:
            self.host.fail(error)
            return
        self.notify("\n".join(str(file) for file in files), title="Chart saved", markup=False)

    def action_axis(self) -> None:
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self.chart.reset()
        self._draw()

    def action_log(self) -> None:
        self.chart.log_axis = not self.chart.log_axis

    def action_smoother(self) -> None:
        self._smooth(1)

    def action_rougher(self) -> None:
        self._smooth(-1)

    def _smooth(self, by: int) -> None:
        near = min(range(len(SMOOTHING)), key=lambda i: abs(SMOOTHING[i] - self.host.preferences.smoothing))
        weight = SMOOTHING[max(0, min(near + by, len(SMOOTHING) - 1))]
        self.host.change(smoothing=weight)
        self._smooth_curves(weight)

    @work(exclusive=True, group="smooth")
    async def _smooth_curves(self, weight: float) -> None:
        """Draw with this weight, when all is smoothed with it: a portion of a long run at a time."""
        for run, _ in self._shown():
            if curve := self.curves.get(run.id):
                for _ in curve.series.smoothing(SMOOTHED, weight):
                    await asyncio.sleep(0)
        self._draw()

    def action_zoom_in(self) -> None:
        self.chart.zoom(2.0)

    def action_zoom_out(self) -> None:
        self.chart.zoom(0.5)

    def action_pan_left(self) -> None:
        self._move(-1)

    def action_pan_right(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        if self.chart.cursor is None:
            self.chart.pan(by * 0.2)
        else:
            self.chart.move_cursor(by)

    def action_inspect(self) -> None:
        self.chart.inspect()

    def action_reset(self) -> None:
        self.chart.reset()


def _newer(run: RunSummary, offset: int) -> bool:
    """Whether the run's file is of another length than was read."""
    try:
        return (run.folder / registry.EVENTS).stat().st_size != offset
    except OSError:
        return False
