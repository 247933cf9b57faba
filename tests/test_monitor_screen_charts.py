"""Monitor's charts and its figures of the machine, as a person uses them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Static, TabbedContent

from engine.hardware.sample import Gpu
from engine.hardware.sample import Sample as MachineSample
from engine.runs.directory.events import Eval, encode
from screens.charts.widget import Chart
from screens.monitor.machine import MachinePanel, rows
from tests.monitor_app import GB, StillApp, all_read, laptop, until, workstation
from tests.run_fixtures import STARTED, make_run, step

RUN = "20260102-000000-sql-helper"
OTHER = "20260101-000000-other"
SIZE = (120, 36)


def text(app: StillApp, selector: str) -> str:
    return str(app.monitor.query_one(selector, Static).content)


async def test_chosen_chart_zooms_moves_and_resets(ft_home: Path) -> None:
    """It is inspected too."""
    make_run(RUN, steps=100)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        chart = app.monitor.controls.chart
        whole = chart.view
        await pilot.press("z")
        assert chart.view[1] - chart.view[0] == pytest.approx((whole[1] - whole[0]) / 2)
        before = chart.view
        await pilot.press("left")
        assert chart.view[0] < before[0]
        await pilot.press("Z", "0")
        assert chart.view == whole
        await pilot.press("i")
        at = chart.cursor
        await pilot.press("left")
        assert at is not None
        assert chart.cursor is not None
        assert chart.cursor < at
        await pilot.press("i")
        assert chart.cursor is None
        await pilot.press("v")
        assert app.monitor.controls.chart.id == "memory"


async def test_one_cursor_runs_through_all_charts(ft_home: Path) -> None:
    make_run(RUN, steps=100)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        charts = [chart for chart in app.monitor.charts if chart.display and chart.lines]
        await pilot.press("i", "left", "left", "left")
        at = charts[0].cursor
        await until(pilot, lambda: at is not None and {chart.cursor for chart in charts} == {at})
        await pilot.press("v", "v", "right")  # the learning rate's leads it from where it is
        await until(pilot, lambda: {chart.cursor for chart in charts} == {app.monitor.controls.chart.cursor})
        assert at is not None
        assert app.monitor.controls.chart.cursor is not None
        assert app.monitor.controls.chart.cursor > at
        charts[0].zoom(8)
        charts[0].pan(-4)
        await pilot.press("left")
        await until(pilot, lambda: charts[0].cursor is None)  # out of sight there
        await pilot.press("i")
        await until(pilot, lambda: {chart.cursor for chart in charts} == {None})


async def test_zoomed_chart_shows_every_step(ft_home: Path) -> None:
    """It may be an old part of the run."""
    run = make_run(RUN, steps=0, end=None)
    with run.events_file.open("ab") as out:
        out.writelines(encode(step(i, i % 7, total=40_000)) for i in range(1, 40_001))
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        chart = app.monitor.charts[0]
        assert chart.lines[0].series.stride > 1
        chart.zoom(400, at=5000)
        x0, x1 = chart.view
        wanted = [(i, i % 7) for i in range(math.ceil(x0), int(x1) + 1)]
        await until(pilot, lambda: list(chart.lines[0].series.points(x0, x1)) == wanted, seconds=60)
        chart.reset()
        await pilot.pause(0.2)
        assert len(chart.lines[0].series) == 40_000


async def test_chart_redraws_axis_and_smoothing_at_once(ft_home: Path) -> None:
    make_run(RUN, steps=100)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        loss = app.monitor.query_one("#first", Chart)
        await pilot.press("l")
        assert loss.log
        await pilot.press("t")
        assert loss.axis_label == "time"
        await pilot.press("t")
        assert loss.axis_label == "tokens"
        assert loss.extent[1] == 6000
        await pilot.press("a")
        assert loss.note == "ema 0.95"
        await pilot.press("A", "A")
        assert loss.note == "ema 0.8"
        assert app.preferences.smoothing == 0.8


async def test_chart_is_saved_as_picture_and_table(ft_home: Path) -> None:
    make_run(RUN, steps=20)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        await pilot.press("e")
        folder = ft_home / "charts" / RUN
        await until(pilot, lambda: len(list(folder.glob("*"))) == 2)
        assert {path.suffix for path in folder.iterdir()} == {".svg", ".csv"}


async def test_other_metrics_get_their_own_tab(ft_home: Path) -> None:
    run = make_run(RUN, steps=20, end=None)
    for number in range(21, 41):
        run.emit(replace(step(number, 1.0), metrics={"margin": number / 10}))
    run.emit(Eval(step=40, loss=1.0, perplexity=2.7, metrics={"margin": 1.5, "exact_match": 0.25}))
    make_run(OTHER, steps=20)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        tabs = app.monitor.query_one("#tabs", TabbedContent)
        assert tabs.get_tab("metrics-tab").display
        assert len(app.monitor.charts) == 5
        tabs.active = "metrics-tab"
        await until(pilot, lambda: len(app.monitor.charts) == 7)
        margin, match = app.monitor.charts[5:]
        assert (margin.title, match.title) == ("margin", "exact_match")
        assert [line.label for line in match.lines] == ["validation"]
        assert {line.label for line in margin.lines} == {"train", "validation"}
        assert margin.lines[0].series.bounds() == (21, 40, 2.1, 4.0)
        margin.zoom(2)
        app.monitor.show(OTHER)
        await until(pilot, lambda: not tabs.get_tab("metrics-tab").display)
        assert len(app.monitor.charts) == 5
        assert tabs.active == "samples-tab"


async def test_best_by_another_metric_is_marked_on_loss_curve(ft_home: Path) -> None:
    run = make_run(RUN, steps=30, exact=(0.25, 0.8, 0.5))
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        (mark,) = [mark for mark in app.monitor.charts[0].marks if mark.symbol == "◆"]
        assert (mark.x, mark.label) == (20, "best exact_match 80.0%")
        assert mark.y == run.evaluations()[1].loss
        assert "◆ best exact_match 80.0% @20" in text(app, "#results")
        run.emit(
            Eval(
                step=40,
                loss=0.75,
                perplexity=2.1,
                metrics={"exact_match": 0.9},
                best=True,
                best_by="exact_match",
            )
        )
        await until(pilot, lambda: "◆ best exact_match 90.0% @40" in text(app, "#results"))
        (mark,) = [mark for mark in app.monitor.charts[0].marks if mark.symbol == "◆"]
        assert (mark.x, mark.y) == (40, 0.75)


async def test_machine_is_shown_without_run(ft_home: Path) -> None:
    """Each figure that it tells is shown."""
    app = StillApp(workstation())
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: len(app.samples) == 60)
        await pilot.pause(0.25)
        labels = {line.label for chart in app.monitor.charts for line in chart.lines}
        assert labels == {"CPU", "GPU", "memory", "GPU memory", "CPU °C", "GPU °C", "GPU W", "swap"}
        panel = str(app.monitor.query_one("#machine", MachinePanel).render())
        assert "GPU1" in panel
        assert "pressure" not in panel


def test_gpu_processes_are_named_with_memory() -> None:
    held = ((41, 9 * GB), (42, None), (43, 12 * GB), (44, GB))
    sample = MachineSample(t=STARTED, gpus=(Gpu("RTX 4090", 0.5, 22 * GB, 24 * GB, processes=held),))
    parts = [part.plain for part in next(iter(rows([sample])))]
    assert parts[-4:] == ["pid 43 12.0 GB", "pid 41 9.00 GB", "pid 44 1.00 GB", "+1 more"]


async def test_missing_machine_figures_take_no_room(ft_home: Path) -> None:
    app = StillApp(laptop())
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: len(app.samples) == 60)
        await pilot.pause(0.25)
        shown = {chart.title for chart in app.monitor.charts if chart.display}
        assert shown == {"CPU and GPU use, %", "memory", "power, W"}
