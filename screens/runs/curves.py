"""Loss curves of the runs that are chosen, on one chart: read as needed, kept, and drawn."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from textual.worker import Worker, get_current_worker

from engine.runs.curves.series import AXES, AxisName, RunSeries
from engine.runs.curves.zoom import Part
from engine.runs.directory import registry
from engine.runs.index.summary import RunSummary
from screens.base import FtScreen
from screens.charts.widget import Chart, Line
from screens.format import percent
from screens.runs.curve_reader import (
    SMOOTHED,
    CurveGrown,
    CurveNews,
    CurveRead,
    CurveReading,
    Curves,
    PartRead,
    Wanted,
    read_curve,
    read_part,
)
from screens.runs.selection import NUMBERS, colour_of

BOTH_LOSSES = 3
"""So many runs at most are drawn with their validation loss too; more would hide each other."""
SLOW_SHARE = 0.01
"""From here on the share that is read is shown; most files are read before anyone could see it."""
NO_STEPS = "This run has no steps yet."
NO_CURVE = "It trained nothing, so it has no curve. enter shows what it did."


@dataclass(frozen=True)
class Overlay:
    """The runs whose curves are wanted, each with its number from 0."""

    runs: tuple[tuple[RunSummary, int], ...] = ()
    selected: int = 0
    """Runs that are selected, also those beyond what is drawn; 0 where the run is the one under the cursor."""


class CurveChart:
    """Reads the curves of an overlay in threads of the screen's, and draws them on its chart.

    The screen gives every `CurveNews` to `take`.
    """

    def __init__(self, screen: FtScreen, chart: Callable[[], Chart]) -> None:
        self._screen = screen
        self._chart = chart
        self._overlay = Overlay()
        self._curves = Curves()
        self.axis: AxisName = AXES[0]
        self._readers: dict[str, Worker[None]] = {}
        self._shares: dict[str, float] = {}
        """Share read of each curve that is being read from its start."""
        self._drawn: tuple[object, ...] = ()

    @property
    def settled(self) -> bool:
        """True if the chart shows all that it is to show."""
        return self._drawn == self._key() and all(self._curves.get(run.id) for run, _ in self._overlay.runs)

    @property
    def readers(self) -> dict[str, Worker[None]]:
        """The workers that read curves now, by run."""
        return self._readers

    def show(self, overlay: Overlay) -> None:
        """Draw these curves, and read what is not known yet; reading the others ends."""
        self._overlay = overlay
        self.draw()
        shown = {run.id: run for run, _ in overlay.runs}
        for run_id in set(self._readers) - set(shown):
            self._readers.pop(run_id).cancel()
            self._shares.pop(run_id, None)
        for run in shown.values():
            held, reader = self._curves.get(run.id), self._readers.get(run.id)
            if reader is not None and not reader.is_finished:
                continue
            if held is None or run.alive or _newer(run, held.offset):
                wanted = Wanted(run.id, run.folder, held.offset if held else None, self._weight)
                self._readers[run.id] = self._screen.run_worker(
                    partial(self._read, wanted), thread=True, group="curves", exit_on_error=False
                )

    def _read(self, wanted: Wanted) -> None:
        worker = get_current_worker()
        read_curve(wanted, self._screen.post_message, lambda: worker.is_cancelled)

    def take(self, news: CurveNews) -> None:
        """Take what a thread has read."""
        match news:
            case CurveReading():
                if news.run_id in self._readers:
                    self._shares[news.run_id] = news.share
                    self.draw()
            case CurveRead():
                self._shares.pop(news.run_id, None)
                self._curves.take(news)
                self.draw()
            case CurveGrown():
                if self._curves.grow(news):
                    self._chart().redraw()
            case PartRead():
                if curve := self._curves.get(news.run_id):
                    curve.series.refine(news.part, news.series)
                    self.draw()
                self._screen.call_later(self.refine)

    def refine(self) -> None:
        """Have steps read again where the chart is zoomed into a long run; one part at a time."""
        if any(worker.group == "part" and worker.is_running for worker in self._screen.workers):
            return  # asked again when that is done
        for run, _ in self._overlay.runs:
            curve = self._curves.get(run.id)
            part = curve.series.missing(self.axis, *self._chart().view) if curve else None
            if curve and part:
                file, again = run.folder / registry.EVENTS, curve.series.again(part)
                self._screen.run_worker(
                    partial(self._read_part, run.id, file, part, again), thread=True, group="part"
                )
                return

    def _read_part(self, run_id: str, file: Path, part: Part, series: RunSeries) -> None:
        stop = get_current_worker().cancelled_event
        read_part(run_id, file, part, series, self._weight, self._screen.post_message, stop)

    async def smooth(self, weight: float) -> None:
        """Draw with this weight once all is smoothed with it: a portion of a long run at a time."""
        for run, _ in self._overlay.runs:
            if curve := self._curves.get(run.id):
                for _ in curve.series.smoothing(SMOOTHED, weight):
                    await asyncio.sleep(0)
        self.draw()

    @property
    def _weight(self) -> float:
        return self._screen.host.preferences.smoothing

    def draw(self) -> None:
        """Give the chart its lines, where they are not the same as before."""
        if self._key() == self._drawn:
            return
        self._drawn = self._key()
        overlay, weight, chart = self._overlay, self._weight, self._chart()
        lines = self._lines(weight)
        unread = [run.id for run, _ in overlay.runs if self._curves.get(run.id) is None]
        chart.set_lines(lines)
        chart.axis_label = self.axis
        chart.title = "loss" + _of_selected(overlay)
        smoothing = f"ema {weight:g}" if weight else "not smoothed"
        chart.note = " · ".join([smoothing, *([self._reading(unread)] if unread and lines else [])])
        trains = any(run.kind == "train" for run, _ in overlay.runs) or not overlay.runs
        nothing = NO_STEPS if trains else NO_CURVE
        chart.empty = f"{self._reading(unread)} …" if unread else nothing

    def _lines(self, weight: float) -> list[Line]:
        runs, numbered = self._overlay.runs, self._overlay.selected > 0
        lines: list[Line] = []
        for run, slot in runs:
            curve = self._curves.get(run.id)
            if curve is None:
                continue
            mark, colour = NUMBERS[slot] if numbered else "", colour_of(slot)
            label = f"{mark} {run.name}".strip()
            loss = curve.series.series("loss", self.axis)
            if len(runs) == 1:
                lines.append(Line(label, loss, colour, "raw", mark))
            lines.append(Line(label, loss.smoothed(weight), colour, "smooth", mark))
            if len(runs) <= BOTH_LOSSES:
                scores = curve.series.series("eval_loss", self.axis)
                lines.append(Line(f"{mark} validation".strip(), scores, colour, "points"))
        return lines

    def _reading(self, unread: Sequence[str]) -> str:
        """`Reading 40 %`, of those curves that are not there yet."""
        share = sum(self._shares.get(run_id, 0.0) for run_id in unread) / len(unread)
        return f"Reading {percent(share)}" if share >= SLOW_SHARE else "Reading"

    def _key(self) -> tuple[object, ...]:
        """Equal where the chart would be given the same lines."""
        held = [(run.id, slot, self._curves.get(run.id)) for run, slot in self._overlay.runs]
        curves = tuple(
            (run, slot, id(curve), curve.series.looks if curve else 0) for run, slot, curve in held
        )
        shares = tuple(round(self._shares.get(run.id, 0.0), 2) for run, _ in self._overlay.runs)
        return (self.axis, self._weight, curves, shares, self._overlay.selected)


def _of_selected(overlay: Overlay) -> str:
    there, shown = overlay.selected, len(overlay.runs)
    if not there:
        return ""
    return f" of {there} selected" if shown == there else f" of {shown} of {there} selected"


def _newer(run: RunSummary, offset: int) -> bool:
    """True if the run's file is of another length than was read."""
    try:
        return (run.folder / registry.EVENTS).stat().st_size != offset
    except OSError:
        return False
