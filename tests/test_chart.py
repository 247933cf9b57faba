"""Drawing of a chart: golden text, and no input that makes it fail."""

import csv
import io
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import MachineError
from engine.runs.curves.downsample import Series
from screens import format as words
from screens.charts import axis, export
from screens.charts.braille import Canvas
from screens.charts.cells import Frame
from screens.charts.frame import draw
from screens.charts.picture import ChartMark, Level, Line, Picture
from screens.charts.trace import Tracer

BLUE, ORANGE = "#56b4e9", "#e69f00"
ANY = st.floats(allow_nan=True, allow_infinity=True)


def series(*points: tuple[float, float]) -> Series:
    made = Series()
    for x, y in points:
        made.append(x, y)
    return made


def line_of(ys: list[float], label: str = "loss", colour: str = BLUE) -> Line:
    return Line(label, series(*enumerate(ys)), colour)


def text(frame: Frame) -> str:
    return "\n".join("".join(part for part, _ in row).rstrip() for row in frame.rows)


def plot(frame: Frame) -> str:
    """The dots alone, without axes and legend."""
    rows = text(frame).splitlines()[frame.top : frame.top + frame.height]
    return "\n".join(row[frame.left : frame.left + frame.width].rstrip() for row in rows)


def dots(rows: str) -> int:
    return sum((ord(c) - 0x2800).bit_count() for c in rows if 0x2800 < ord(c) < 0x2900)


def styles(frame: Frame) -> set[str]:
    return {style for row in frame.rows for _, style in row}


def test_chart_draws_line_in_braille() -> None:
    picture = Picture([line_of([0, 1, 2, 3, 4, 5, 6, 7])], 0, 7)
    assert plot(draw(picture, 8, 3)) == "     ⢀⡠●\n  ⣀⠤⠒⠉\n⠤⠊⠁"


def test_chart_draws_blocks_without_braille() -> None:
    frame = draw(Picture([line_of([0, 1, 2, 3, 4, 5, 6, 7])], 0, 7, blocks=True), 8, 3)
    assert dots(plot(frame)) == 0
    assert set(plot(frame)) <= set(" \n●▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")


def test_gap_breaks_line_of_chart() -> None:
    whole = plot(draw(Picture([line_of([1, 1, 1, 1, 1])], 0, 4), 10, 3))
    broken = plot(draw(Picture([line_of([1, 1, math.nan, 1, 1])], 0, 4), 10, 3))
    assert " " not in whole.strip()
    assert " " in broken.strip()


def test_gap_within_column_breaks_chart_line() -> None:
    points = [(0.0, 1.0), (0.1, math.nan), (10.0, 1.0)]
    broken = plot(draw(Picture([Line("", series(*points), BLUE)], 0, 10), 10, 3))
    assert dots(broken) <= 2


def test_chart_keeps_spike_among_many_points() -> None:
    """A hundred thousand points have one spike."""
    ys = [1.0] * 100_000
    ys[54_321] = 9.0
    rows = plot(draw(Picture([line_of(ys)], 0, 99_999), 60, 12)).splitlines()
    assert rows[0].strip() or rows[1].strip()


def test_chart_line_leads_outside_window() -> None:
    frame = draw(Picture([line_of([0, 10])], 0.4, 0.6), 12, 3)
    assert dots(plot(frame)) == 0  # no point lies in the window, and so no scale
    frame = draw(Picture([Line("", series((0, 0), (5, 5), (10, 10)), BLUE)], 4, 6), 12, 3)
    assert all(row.strip() for row in plot(frame).splitlines())


def test_chart_band_does_not_thicken_line() -> None:
    noisy = line_of([1.0, 3.0] * 40)
    flat = Line("loss", series(*((i, 2.0) for i in range(80))), ORANGE)
    both = draw(Picture([Line("loss", noisy.series, BLUE, "raw"), flat], 0, 79), 20, 9)
    bright = [part for row in both.rows for part, style in row if style == f"line {ORANGE}"]
    assert {c for part in bright for c in part} <= set("⣀⠤⠒⠉●○")
    assert f"raw {BLUE}" in styles(both)


def test_log_axis_reports_dropped_points() -> None:
    """Points that are not above zero are dropped."""
    picture = Picture([line_of([1, 10, 0, -5, 100])], 0, 4, log=True, title="loss")
    shown = text(draw(picture, 50, 12))
    assert "≤ 0 not shown" in shown
    assert all(label in shown for label in ("10", "100"))
    assert "≤ 0" not in text(draw(Picture([line_of([1, 10])], 0, 1, log=True), 50, 12))


def test_chart_levels_show_name_and_value() -> None:
    """The levels are seen in the scale."""
    picture = Picture(
        [line_of([13e9, 14e9])], 0, 1, [Level("plan", 14.2e9), Level("limit", 36e9, "limit")],
        formatter=words.size, from_zero=True,
    )  # fmt: skip
    shown = text(draw(picture, 60, 15))
    assert "plan 14.2 GB" in shown
    assert "limit 36.0 GB" in shown
    assert "0 B┤" in shown


def test_chart_marks_best_checkpoint_with_name() -> None:
    picture = Picture([line_of([3, 2, 1, 2])], 0, 3, marks=[ChartMark(2, "★", "best 1 @2", 1.0)])
    assert "★" in text(draw(picture, 40, 12))
    assert "best 1 @2" in text(draw(picture, 40, 12))


def test_best_checkpoint_is_not_hidden_on_chart() -> None:
    marks = [ChartMark(3, "★", "best", 0.0), ChartMark(3, "▲")]
    assert "★" in text(draw(Picture([line_of([9, 6, 3, 0])], 0, 3, marks=marks, from_zero=True), 40, 12))


def test_chart_legend_works_without_colour() -> None:
    lines = [line_of([1, 2, 3], "first"), line_of([3, 2, 1], "second", ORANGE)]
    rows = text(draw(Picture(lines, 0, 2), 50, 12)).splitlines()
    assert "● first 3  ◆ second 1" in rows[0]
    assert any("●" in row for row in rows[1:])
    assert any("◆" in row for row in rows[1:])


def test_crowded_chart_legend_counts_the_rest() -> None:
    lines = [line_of([1, 2], f"a-long-name-{i}") for i in range(9)]
    assert "+" in text(draw(Picture(lines, 0, 1), 40, 12)).splitlines()[0]


def test_chart_cursor_reads_every_line() -> None:
    """The cursor says where a far point lies."""
    raw, smooth = line_of([4, 3, 2, 1], "train"), line_of([4, 3.5, 2.75, 1.9], "train")
    evals = Line("eval", series((0, 5.0)), ORANGE, "points")
    lines = [Line("train", raw.series, BLUE, "raw"), smooth, evals]
    head = text(draw(Picture(lines, 0, 3, cursor=2), 70, 12)).splitlines()[0]
    assert "step 2" in head
    assert "train 2.75 (raw 2)" in head
    assert "eval 5 @0" in head


def test_chart_time_axis_shows_clock() -> None:
    picture = Picture([line_of([1.0] * 8000)], 0, 7999, axis_label="time")
    assert "1:00:00" in text(draw(picture, 70, 10))


def test_empty_chart_says_why() -> None:
    assert "Nothing yet" in text(draw(Picture([], 0, 1, empty="Nothing yet: start a run."), 20, 5))


@pytest.mark.parametrize(("width", "height"), [(10, 3), (38, 10), (80, 24), (120, 30), (200, 50)])
def test_chart_fills_every_size_exactly(width: int, height: int) -> None:
    lines = [line_of([3, 1, 2]), line_of([2, 2, 9], "eval", ORANGE)]
    frame = draw(Picture(lines, 0, 2, title="loss", levels=[Level("plan", 3)]), width, height)
    assert len(frame.rows) == height
    assert {sum(len(part) for part, _ in row) for row in frame.rows} == {width}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(ANY, ANY), max_size=12), max_size=3),
    st.integers(1, 40), st.integers(1, 12), ANY, ANY, ANY, st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_chart_survives_any_values_and_size(
    lines: list[list[tuple[float, float]]], width: int, height: int, a: float, b: float, level: float,
    log: bool, zero: bool, blocks: bool,
) -> None:  # fmt: skip
    made = [Line(f"line {i}", series(*points), BLUE) for i, points in enumerate(lines)]
    kinds = [Line(line.label, line.series.smoothed(0.9), ORANGE, "points") for line in made]
    for x0, x1 in [(each.series.bounds() or (0.0, 1.0))[:2] for each in made] + [(a, b)]:
        if math.isfinite(x0) and math.isfinite(x1):
            picture = Picture(
                made + kinds, x0, x1, [Level("plan", level)], [ChartMark(b, "★", "best", level)],
                title="t", log=log, from_zero=zero, blocks=blocks, cursor=a if math.isfinite(a) else None,
            )  # fmt: skip
            frame = draw(picture, width, height)
            assert {sum(len(part) for part, _ in row) for row in frame.rows} == {width}
            ElementTree.fromstring(export.svg(picture))


def test_axis_ticks_are_round_and_short() -> None:
    assert axis.ticks(0.13, 3.2, 4) == [1, 2, 3]
    assert axis.labels([1.0, 1.5, 2.0]) == ["1.0", "1.5", "2.0"]
    assert axis.labels(axis.ticks(0, 2e-4, 5)) == ["0", "0.5e-4", "1.0e-4", "1.5e-4", "2.0e-4"]
    assert axis.log_ticks(0.05, 200, 6) == [0.1, 1, 10, 100]
    assert axis.time_ticks(0, 4000, 5) == [0, 900, 1800, 2700, 3600]
    assert axis.whole_ticks(1, 3, 9) == [1, 2, 3]
    assert axis.short(1_234_567) == "1.235M"


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.integers(1, 20))
def test_axis_ticks_lie_inside_and_few(a: float, b: float, most: int) -> None:
    low, high = sorted((a, b))
    for pick in (axis.ticks, axis.time_ticks, axis.whole_ticks):
        found = pick(low, high, most)
        room = (high - low) * 1e-6 + 1e-9 * max(abs(low), abs(high)) + 1e-6
        assert len(found) <= most
        assert all(low - room <= value <= high + room for value in found)


def test_saved_chart_has_points_and_picture(tmp_path: Path) -> None:
    lines = [line_of([3.0, math.nan, 1.0], "<train> & co"), line_of([2.0, 2.5], "eval", ORANGE)]
    picture = Picture(
        lines, 0, 2, [Level("plan", 2)], [ChartMark(2, "★", "best", 1.0)], title="Loss of my/run"
    )
    svg, table = export.save(picture, tmp_path / "charts")
    assert (svg.name, table.name) == ("loss-of-my-run.svg", "loss-of-my-run.csv")
    words_in = "".join(ElementTree.parse(svg).getroot().itertext())
    assert all(word in words_in for word in ("<train> & co", "Loss of my/run", "plan 2", "best", "★"))
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(row["line"], row["step"], row["value"]) for row in rows] == [
        ("<train> & co", "0", "3.0"), ("<train> & co", "1", "nan"), ("<train> & co", "2", "1.0"),
        ("eval", "0", "2.0"), ("eval", "1", "2.5"),
    ]  # fmt: skip


def test_saving_chart_again_overwrites_nothing(tmp_path: Path) -> None:
    picture = Picture([line_of([1, 2])], 0, 1, title="loss")
    first, second = (export.save(picture, tmp_path)[0].name for _ in range(2))
    assert (first, second) == ("loss.svg", "loss-2.svg")


def test_unwritable_chart_folder_is_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        export.save(Picture([], 0, 1), tmp_path / "file" / "below")


@given(st.lists(st.tuples(st.integers(-5, 45), st.integers(-9, 50), st.integers(-9, 50)), max_size=9))
def test_canvas_sets_only_given_dots(runs: list[tuple[int, int, int]]) -> None:
    canvas = Canvas(20, 10)
    wanted = set()
    for column, top, bottom in runs:
        canvas.run(column, top, bottom)
        wanted |= {(column, row) for row in range(max(0, top), min(39, bottom) + 1) if 0 <= column < 40}
    cells = [(x, y, bits) for x in range(20) for y, bits in canvas.cells(x)]
    assert sum(bits.bit_count() for _, _, bits in cells) == len(wanted)
    assert {(x, y) for x, y, _ in cells} == {(c // 2, r // 4) for c, r in wanted}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 10) | st.just(math.nan), min_size=1, max_size=60),
    st.lists(st.floats(0, 12) | st.just(math.nan), max_size=12),
    st.integers(20, 200),
)
def test_growing_chart_equals_fresh_chart(before: list[float], after: list[float], end: int) -> None:
    points, tracer = series(*enumerate(before)), Tracer()
    smooth = Line("a", points.smoothed(0.5), BLUE)
    lines = [Line("a", points, BLUE, "raw"), smooth, Line("b", points, ORANGE)]
    for y in [*after, math.nan]:
        picture = Picture(lines, 0, end)
        assert draw(picture, 40, 9, tracer) == draw(picture, 40, 9)
        points.append(len(points), y)
