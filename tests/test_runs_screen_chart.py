"""The chart of the Runs screen: curves overlaid, their colours, axes, zoom, and files of them."""

from pathlib import Path

import pytest

from engine.runs.directory.run import Run
from screens.runs import curve_reader
from screens.themes import SERIES
from tests.run_fixtures import make_run, step
from tests.runs_screen_pilot import runs_screen


async def test_selected_runs_keep_their_chart_colours(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        chart = seen.screen.chart
        await seen.press("space", "down", "space", "down", "space")
        await seen.until(lambda: len({line.colour for line in chart.lines}) == 3)
        await seen.press("home", "space")  # the first is let go
        await seen.until(lambda: len({line.colour for line in chart.lines}) == 2)
        assert {line.colour for line in chart.lines} == {SERIES[1], SERIES[2]}
        assert seen.screen.selection.slots == {three_runs[1].id: 1, three_runs[2].id: 2}
        await seen.press("escape")
        assert not seen.screen.selection.slots


async def test_runs_beyond_colours_get_own_marks(ft_home: Path) -> None:
    for number in range(22):
        make_run(f"20260201-0000{number:02}-n{number:02}", steps=5)
    async with runs_screen(22) as seen:
        chart = seen.screen.chart
        await seen.press(*["space", "down"] * 22)
        await seen.until(lambda: len(chart.lines) == 20)
        assert len({line.symbol for line in chart.lines}) == len({line.label for line in chart.lines}) == 20
        assert chart.lines[0].colour == chart.lines[8].colour
        assert chart.title == "loss of 20 of 22 selected"


async def test_long_curve_loads_while_runs_change(
    three_runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve_reader, "CHUNK", 1)  # a line at a time
    async with runs_screen(3) as seen:
        for number in range(31, 300):
            three_runs[0].emit(step(number, 1.0))
        await seen.press("space", "down", "space")
        started = dict(seen.screen.curves.readers)
        three_runs[2].emit(step(11, 0.5))
        await seen.until(lambda: seen.screen.settled)
        assert all(not worker.is_cancelled for worker in started.values())


async def test_chart_follows_run_under_cursor(three_runs: list[Run]) -> None:
    """It grows with the run."""
    async with runs_screen(3) as seen:
        chart = seen.screen.chart
        await seen.press("down")
        await seen.until(lambda: chart.lines and len(chart.lines[0].series) == 20)
        three_runs[1].emit(step(21, 0.5))
        await seen.until(lambda: len(chart.lines[0].series) == 21)


async def test_chart_axis_and_smoothing_have_keys(three_runs: list[Run]) -> None:
    """So have the order and the scale."""
    async with runs_screen(3) as seen:
        await seen.press("x", "l", "a")
        assert (seen.screen.chart.axis_label, seen.screen.chart.log_axis) == ("time", True)
        assert seen.app.preferences.smoothing == 0.95
        await seen.press("A", "o")
        assert seen.app.preferences.smoothing == 0.9
        assert seen.names() == ["sql-new", "chat", "sql-old"]  # best first
        await seen.press("o", "o")
        assert seen.names() == ["chat", "sql-new", "sql-old"]
        assert "by name" in seen.text("#count")


async def test_zoom_pan_and_inspection_move_the_chart(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        chart = seen.screen.chart
        await seen.until(lambda: chart.lines and len(chart.lines[0].series) == 30)
        whole = chart.view
        await seen.press("z", "left")
        assert chart.view[1] - chart.view[0] < whole[1] - whole[0]
        await seen.press("0")
        assert chart.view == whole
        await seen.press("i", "left")
        assert chart.cursor is not None
        await seen.press("Z", "right")


async def test_curves_are_saved_to_files(three_runs: list[Run], ft_home: Path) -> None:
    async with runs_screen(3) as seen:
        await seen.until(lambda: seen.screen.chart.lines)
        await seen.press("e")
        folder = ft_home / "exports"
        await seen.until(
            lambda: folder.is_dir() and {path.suffix for path in folder.iterdir()} == {".svg", ".csv"}
        )


async def test_narrow_list_and_chart_take_turns(three_runs: list[Run]) -> None:
    async with runs_screen(3, size=(80, 24)) as seen:
        screen = seen.screen
        assert (screen.table.region.height > 8, screen.chart.region.height) == (True, 0)
        await seen.press("v")
        assert (screen.table.region.height, screen.chart.region.height > 12) == (0, True)
        await seen.press("slash")
        assert screen.table.region.height > 8
