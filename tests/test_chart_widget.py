"""The chart in an app: what keys and mouse do to it, and how it looks at several sizes."""

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.runs.curves.downsample import Series
from screens import format as words
from screens.charts.widget import Chart, ChartMark, Level, Line
from screens.themes import SERIES, THEMES


def losses(steps: int = 600) -> tuple[Series, Series]:
    """A training loss with noise and a stretch of NaN, and its evaluations."""
    random, train, evals = Random(1), Series(), Series()
    for step in range(1, steps + 1):
        loss = 1.2 + 2 * math.exp(-step / 80)
        train.append(step, math.nan if 300 < step < 330 else loss + random.gauss(0, 0.12))
        if step % 50 == 0:
            evals.append(step, loss + 0.1 + 0.0008 * max(0, step - 400))
    return train, evals


class Charts(App[None]):
    """A loss over a memory chart, as Monitor has them."""

    CSS = "Chart { border: round $panel; }"

    def __init__(self, theme: str = "ft-dark", blocks: bool = False, memory: bool = True) -> None:
        super().__init__()
        self._wanted, self._in_blocks, self._memory = theme, blocks, memory
        self.train, self.evals = losses()

    def compose(self) -> ComposeResult:
        yield Chart("loss", id="loss")
        if self._memory:
            yield Chart("memory", id="memory")

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._wanted
        for chart in self.query(Chart):
            chart.blocks = self._in_blocks
        self.chart.note = "ema 0.9"
        self.chart.set_lines(
            [
                Line("train", self.train, SERIES[0], "raw"),
                Line("train", self.train.smoothed(0.9), SERIES[0]),
                Line("eval", self.evals, SERIES[1], "points"),
            ]
        )
        best = self.evals.nearest(400)
        assert best is not None
        self.chart.set_marks(
            [ChartMark(400, "★", "best 1.31 @400", best[1]), ChartMark(200, "▾"), ChartMark(500, "▾")]
        )
        if self._memory:
            self._show_memory(self.query_one("#memory", Chart))

    def _show_memory(self, chart: Chart) -> None:
        used = Series()
        for second in range(0, 1200, 3):
            used.append(second, 13.2e9 + 0.4e9 * math.sin(second / 90) - 12e9 * math.exp(-second / 30))
        chart.axis_label, chart.formatter, chart.from_zero = "time", words.size, True
        chart.set_lines([Line("engine", used, SERIES[2])])
        chart.set_levels([Level("plan", 14.2e9), Level("limit", 36e9, "limit")])

    @property
    def chart(self) -> Chart:
        return self.query_one("#loss", Chart)


@pytest.fixture
def app() -> Charts:
    return Charts(memory=False)


def shown(chart: Chart) -> str:
    return "\n".join(chart.render_line(y).text for y in range(chart.size.height))


async def test_zooming_chart_keeps_its_place(app: Charts) -> None:
    async with app.run_test(size=(80, 24)):
        app.chart.zoom(4, at=300)
        x0, x1 = app.chart.view
        assert x1 - x0 == pytest.approx(599 / 4)
        assert (300 - x0) / (x1 - x0) == pytest.approx(299 / 599)
        app.chart.zoom(1 / 9)
        assert app.chart.view == (1, 600)


async def test_zoomed_chart_follows_until_panned(app: Charts) -> None:
    async with app.run_test(size=(80, 24)):
        app.chart.zoom(6)
        assert app.chart.view[1] == 600
        app.train.append(650, 1.0)
        assert app.chart.view[1] == 650
        app.chart.pan(-1)
        assert not app.chart.follow
        before = app.chart.view
        app.train.append(700, 1.0)
        assert app.chart.view == before
        app.chart.pan(99)
        assert app.chart.follow
        assert app.chart.view[1] == 700


async def test_resetting_chart_shows_everything(app: Charts) -> None:
    async with app.run_test(size=(80, 24)):
        app.chart.zoom(10, at=100)
        app.chart.pan(0.5)
        app.chart.reset()
        assert app.chart.view == (1, 600)
        assert app.chart.follow


async def test_chart_cursor_starts_at_newest_point(app: Charts) -> None:
    """The cursor steps through all points."""
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.inspect(True)
        await pilot.pause()
        assert app.chart.cursor == 600
        assert "step 600" in shown(app.chart)
        app.chart.zoom(100)
        for _ in range(3):
            app.chart.move_cursor(-1)
        assert app.chart.cursor == 597
        app.chart.inspect(False)
        await pilot.pause()
        assert "step 5" not in shown(app.chart)


async def test_chart_view_follows_cursor(app: Charts) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.zoom(10)
        await pilot.pause()
        app.chart.inspect(True)
        app.chart.move_cursor(-200)
        x0, x1 = app.chart.view
        assert app.chart.cursor is not None
        assert x0 <= app.chart.cursor <= x1 < 600


async def test_wheel_zooms_chart_at_mouse(app: Charts) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot._post_mouse_events([_scroll_up()], "#loss", offset=(42, 10))
        x0, x1 = app.chart.view
        assert x1 - x0 == pytest.approx(599 / 1.25)
        assert x0 > 1
        assert x1 < 600


def _scroll_up() -> Any:
    from textual.events import MouseScrollUp

    return MouseScrollUp


async def test_click_inspects_chart_and_dragging_pans(app: Charts) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.click("#loss", offset=(40, 10))
        assert app.chart.cursor == pytest.approx(290, abs=20)
        app.chart.inspect(False)
        app.chart.zoom(4, at=300)
        before = app.chart.view
        await pilot.mouse_down("#loss", offset=(40, 10))
        await pilot.hover("#loss", offset=(50, 10))
        await pilot.mouse_up("#loss", offset=(50, 10))
        assert app.chart.view[0] < before[0]
        assert app.chart.cursor is None


async def test_unchanged_chart_is_not_redrawn(app: Charts, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    real = Chart._draw
    monkeypatch.setattr(Chart, "_draw", lambda chart: (drawn.append(chart.title), real(chart))[1])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        drawn.clear()
        app.chart.set_lines(app.chart.lines)
        app.chart.redraw()
        app.chart.refresh()
        await pilot.pause()
        assert drawn == []
        app.train.append(601, 1.0)
        app.chart.redraw()
        await pilot.pause()
        assert drawn == ["loss"]
        app.chart.log_axis = True
        await pilot.pause()
        assert drawn == ["loss", "loss"]


async def test_chart_fills_before_it_is_shown() -> None:
    """An empty one can be shown too."""

    class Empty(App[None]):
        def compose(self) -> ComposeResult:
            chart = Chart("loss")
            chart.set_lines([Line("train", Series(), SERIES[0])])
            chart.set_marks([ChartMark(3, "▾")])
            yield chart

    empty = Empty()
    async with empty.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        chart = empty.query_one(Chart)
        chart.zoom(2)
        chart.pan(1)
        chart.inspect()
        chart.move_cursor(3)
        await pilot.pause()
        assert "Nothing measured yet." in shown(chart)


async def test_exported_chart_shows_current_view(app: Charts, tmp_path: Path) -> None:
    async with app.run_test(size=(80, 24)):
        app.chart.zoom(6)
        svg, table = app.chart.export(tmp_path)
        assert svg.read_text().startswith("<svg")
        first = table.read_text().splitlines()[1].split(",")
        assert float(first[2]) >= app.chart.view[0] > 1


async def test_pale_chart_colour_darkens_on_light() -> None:
    light = Charts("ft-light")
    async with light.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        colour = light.chart._style("line #f0e442").color
        assert colour is not None
        assert colour.triplet is not None
        assert max(colour.triplet[:2]) < 180


Snap = Callable[..., bool]


@pytest.mark.parametrize("size", [(38, 20), (80, 24), (120, 36), (200, 50)])
def test_looks(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(Charts(), terminal_size=size)


def test_looks_light_zoomed_and_inspected(snap_compare: Snap) -> None:
    async def look(pilot: Pilot[None]) -> None:
        chart = pilot.app.query_one("#loss", Chart)
        chart.zoom(4, at=300)
        chart.inspect(True)
        chart.move_cursor(-10)
        await pilot.pause()

    before: Callable[[Pilot[None]], Awaitable[None]] = look
    assert snap_compare(Charts("ft-light"), terminal_size=(120, 36), run_before=before)


def test_looks_in_blocks(snap_compare: Snap) -> None:
    assert snap_compare(Charts(blocks=True), terminal_size=(80, 24))


def test_looks_without_colour(snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(Charts(), terminal_size=(80, 24))


def test_looks_on_a_log_axis(snap_compare: Snap) -> None:
    async def look(pilot: Pilot[None]) -> None:
        pilot.app.query_one("#loss", Chart).log_axis = True
        await pilot.pause()

    assert snap_compare(Charts(), terminal_size=(80, 24), run_before=look)
