"""The Runs screen as it is used: found, marked, overlaid, compared, gone on from and deleted by keys alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.runs.directory.create import create_job
from engine.runs.directory.events import Failed, Finished
from engine.runs.directory.run import Run
from engine.runs.index.index import summary_of
from ft import app
from ft.app import FtApp
from screens.intents import ChatWith, EditRecipe, Intent, ShowRun
from screens.runs import curve_reader
from screens.runs.compare import CompareScreen
from screens.runs.details import described
from screens.runs.screen import RunsScreen
from screens.themes import SERIES
from screens.widgets.confirm import Confirm
from tests.app_pilot import shown
from tests.run_fixtures import evaluated, make_run, step


class Watched(FtApp):
    """The real app, that notes where the Runs screen sends a person."""

    CSS_PATH = Path(app.__file__).with_name("app.tcss")
    LOOK_S = 0.05

    def __init__(self) -> None:
        super().__init__(start="runs")
        self.asked: list[Intent | tuple[str, str]] = []

    def open(self, intent: Intent) -> None:
        self.asked.append(intent)

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        self.asked.append(("resume", run_id))


class Seen:
    """The screen, and waiting until it shows something."""

    def __init__(self, app: Watched, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> RunsScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, RunsScreen)
        return screen

    def names(self) -> list[str]:
        return [run.name for run in self.screen.table.rows]

    def text(self, selector: str) -> str:
        return str(self.screen.query_one(selector).render())

    async def until(self, what: Any) -> None:
        for _ in range(200):
            await self.pilot.pause(0.02)
            if what():
                return
        raise AssertionError("it did not come to that")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(
            "slash", *("space" if c == " " else "less_than_sign" if c == "<" else c for c in text)
        )


@asynccontextmanager
async def runs_screen(
    expected: int, size: tuple[int, int] = (120, 36), listed: int | None = None
) -> AsyncIterator[Seen]:
    watched = Watched()
    async with watched.run_test(size=size) as pilot:
        seen = Seen(watched, pilot)
        await seen.until(lambda: isinstance(watched.screen_stack[0], RunsScreen))
        await seen.until(lambda: len(watched.runs) == expected)
        await seen.until(lambda: len(seen.screen.table.rows) == (expected if listed is None else listed))
        yield seen


@pytest.fixture
def three_runs(ft_home: Path) -> list[Run]:
    return [
        make_run("20260103-000000-sql-new", steps=30, start_loss=2.0, lr=2e-4),
        make_run("20260102-000000-chat", steps=20),
        make_run("20260101-000000-sql-old", steps=10, start_loss=5.0),
    ]


async def test_empty_runs_list_says_how_to_begin(ft_home: Path) -> None:
    async with runs_screen(0) as seen:
        assert seen.screen.query_one("#empty").display
        assert "No runs yet" in seen.text("#empty")
        await seen.press("enter", "space", "c", "d", "f", "t", "r", "e", "o", "escape")
        assert seen.app.asked == []


async def test_filter_narrows_the_list_until_escape(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.type("tag:sql lr<5e-4")
        assert seen.names() == ["sql-new"]
        assert "1 of 3 runs" in seen.text("#count")
        await seen.press("enter")
        assert seen.screen.table.has_focus
        await seen.press("escape")
        assert len(seen.names()) == 3


async def test_runs_filter_and_order_are_remembered(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.type("tag:sql")
        await seen.press("enter", "o")
        left = seen.names()
        assert len(left) < 3
    async with runs_screen(3, listed=len(left)) as seen:
        assert seen.names() == left
        assert "by best" in seen.text("#count")
        await seen.press("escape")
    async with runs_screen(3) as seen:
        assert seen.screen.filter.value == ""


async def test_filter_mistake_is_pointed_at(three_runs: list[Run]) -> None:
    """The list stays."""
    async with runs_screen(3) as seen:
        await seen.type("chat los<1")
        error = seen.screen.query_one("#filter-error")
        assert error.display
        assert seen.text("#filter-error").startswith("     ^ There is no field 'los'. Did you mean loss?")
        assert seen.names() == ["chat"]
        await seen.press("escape")
        assert not error.display


async def test_filter_without_matches_says_way_back(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.type("zzz")
        assert "No run matches" in seen.text("#empty")
        await seen.press("escape")
        assert not seen.screen.query_one("#empty").display


async def test_letter_keys_are_typed_into_filter(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.type("c d r o q 3")
        assert seen.screen.filter.value == "c d r o q 3"


async def test_cursor_and_selection_follow_their_runs(three_runs: list[Run]) -> None:
    """New runs come in between."""
    async with runs_screen(3) as seen:
        await seen.press("down", "space", "down")
        for number in range(40):
            make_run(f"20260201-0000{number:02}-later", steps=1)
        await seen.until(lambda: len(seen.names()) == 43)
        table = seen.screen.table
        assert table.run is not None
        assert (table.run.name, set(table.slots)) == ("sql-old", {three_runs[1].id})
        rows, at = table.rows, table.cursor

        def in_sight() -> bool:
            return table.scroll_offset.y <= table.cursor < table.scroll_offset.y + table.size.height

        await seen.until(in_sight)
        table.show(rows[at : at + 1])  # few enough to need no scrollbar
        await seen.until(lambda: table.scroll_offset.y == 0 and not table.show_vertical_scrollbar)
        table.show(rows)  # and all of them again
        await seen.until(in_sight)


async def test_list_cursor_moves_by_line_and_page(ft_home: Path) -> None:
    """It moves to both ends too."""
    for number in range(60):
        make_run(f"20260201-0000{number:02}-n{number}", steps=1)
    async with runs_screen(60) as seen:
        table = seen.screen.table
        await seen.press("end")
        assert table.cursor == 59
        await seen.press("up", "pageup")
        assert table.cursor == 58 - (table.size.height - 2)
        await seen.press("home", "down", "j", "k")
        assert table.cursor == 1


async def test_second_click_opens_the_run(three_runs: list[Run]) -> None:
    """The first one chooses it."""
    async with runs_screen(3) as seen:
        await seen.pilot.click("RunsTable", offset=(20, 2), times=2)
        await seen.until(lambda: seen.app.asked)
        assert seen.app.asked == [ShowRun(three_runs[1].id)]


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


async def test_filter_proposes_how_words_go_on(ft_home: Path) -> None:
    run = make_run("20260101-000000-chat", steps=3)
    recipe = run.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("tags: []", "tags: [sql, spider]"))
    async with runs_screen(1) as seen:
        await seen.press("slash", *"sta", "right", *"comp", "right", "space", *"tag", "right", *"sp", "right")
        assert seen.screen.filter.value == "status:completed tag:spider"
        assert seen.names() == ["chat"]
        assert "tags    sql spider" in seen.text("#details")


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


async def test_best_of_another_metric_is_listed_apart(ft_home: Path) -> None:
    make_run("20260104-000000-right-half", steps=20, exact=(0.25, 0.5))
    make_run("20260103-000000-loss-high", steps=20, start_loss=5.0)
    make_run("20260102-000000-right-most", steps=20, exact=(0.8, 0.7))
    loss = make_run("20260101-000000-loss-low", steps=20)
    async with runs_screen(4) as seen:

        def lines() -> list[str]:
            return [seen.screen.table.render_line(y).text for y in range(5)]

        title, first, *_ = lines()
        assert "best  metric" in title
        assert "50.0%  exact_match" in first
        await seen.press("o")
        assert seen.names() == ["loss-low", "loss-high", "right-most", "right-half"]
        assert "by best of each metric" in seen.text("#count")
        assert f"{loss.state().best:.3f}  validation loss" in lines()[1]
        assert "80.0%  exact_match" in lines()[3]
        await seen.type("name:loss")
        assert seen.text("#count").endswith("by best")
        assert "metric" not in lines()[0]


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


async def test_two_selected_runs_are_compared(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("space", "down", "c")
        overlay = seen.app.screen
        assert isinstance(overlay, CompareScreen)
        await seen.until(lambda: overlay.comparison is not None)
        assert overlay.comparison is not None
        keys = [row.key for row in overlay.comparison.different()["recipe"]]
        assert keys == ["name", "training.learning_rate"]
        await seen.press("s")
        await seen.until(lambda: overlay.comparison and overlay.comparison.left == three_runs[1].id)
        await seen.press("a", "escape")
        assert seen.app.screen is seen.screen


@pytest.mark.parametrize(("other", "told"), [(0.625, True), (0.875, False)])
async def test_scores_with_overlapping_intervals_have_no_mark(
    three_runs: list[Run], other: float, told: bool
) -> None:
    for run, value in zip(three_runs, (0.5, other, 0.5), strict=True):
        evaluated(run, value, "/rows/test.jsonl")
    async with runs_screen(6) as seen:
        left, right = (summary_of(run) for run in three_runs[:2])
        seen.app.push_screen(CompareScreen(left, right))
        overlay = seen.app.screen
        assert isinstance(overlay, CompareScreen)
        await seen.until(lambda: overlay.comparison is not None)
        lines = shown(seen.app).splitlines()
        (row,) = [line for line in lines if "50.0% (37.5%" in line]
        assert ("✓" in row, any("not told apart" in line for line in lines)) == (not told, told)


async def test_one_run_cannot_be_compared_with_itself(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("c")
        await seen.press("space", "c")
        assert seen.app.screen is seen.screen
        assert "Comparing takes two runs" in seen.app.problems[-1].message


async def test_run_is_opened_resumed_and_forked(three_runs: list[Run]) -> None:
    """It can be talked to as well."""
    async with runs_screen(3) as seen:
        await seen.press("down", "enter", "r", "t", "f")
        await seen.until(lambda: len(seen.app.asked) == 4)
        run_id = three_runs[1].id
        assert seen.app.asked[:3] == [ShowRun(run_id), ("resume", run_id), ChatWith(run_id)]
        asked = seen.app.asked[3]
        assert isinstance(asked, EditRecipe)
        text = asked.text or ""
        assert "name: chat-2" in text
        assert "# a recipe with a comment" in text


async def test_job_without_recipe_is_only_started_again(ft_home: Path) -> None:
    """An evaluation has no weights to chat with and no recipe to copy."""
    job = create_job("evaluate", "evaluate-chat", {"model": "/models/chat"})
    job.emit(Finished(reason="stopped", step=0))
    async with runs_screen(1) as seen:
        await seen.press("t", "f", "r")
        await seen.until(lambda: seen.app.asked == [("resume", job.id)])
        assert ["of the kind evaluate" in problem.message for problem in seen.app.problems] == [True, True]
        assert "r starts it again." in str(described(seen.screen.table.rows[0], {}))


async def test_new_recipe_starts_from_trained_run(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("down", "F")
        await seen.until(lambda: len(seen.app.asked) == 1)
        asked = seen.app.asked[0]
        assert isinstance(asked, EditRecipe)
        text = asked.text or ""
        assert f'from: "{three_runs[1].id}"' in text
        assert "rank" not in text, "the adapter's own"
        assert "# a recipe with a comment" in text


async def test_deleting_a_run_proposes_no(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("down", "d")
        assert isinstance(seen.app.screen, Confirm)
        assert three_runs[1].id in seen.app.screen.question
        await seen.press("enter")
        assert seen.app.screen is seen.screen
        assert three_runs[1].folder.is_dir()
        await seen.press("d", "y")
        await seen.until(lambda: seen.names() == ["sql-new", "sql-old"])
        assert not three_runs[1].folder.exists()
        assert seen.screen.table.run is not None


async def test_all_selected_runs_are_deleted_at_once(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("space", "end", "space", "d", "y")
        await seen.until(lambda: seen.names() == ["chat"])
        assert not seen.screen.selection.slots


async def test_training_run_is_not_deleted_or_resumed(three_runs: list[Run]) -> None:
    with three_runs[0].locked():
        async with runs_screen(3) as seen:
            await seen.until(lambda: seen.screen.table.rows[0].alive)
            await seen.press("d", "r")
            assert seen.app.screen is seen.screen
            assert ["training" in problem.message for problem in seen.app.problems] == [True, True]
            assert seen.app.asked == []
    assert three_runs[0].folder.is_dir()


async def test_curves_are_saved_to_files(three_runs: list[Run], ft_home: Path) -> None:
    async with runs_screen(3) as seen:
        await seen.until(lambda: seen.screen.chart.lines)
        await seen.press("e")
        folder = ft_home / "exports"
        await seen.until(
            lambda: folder.is_dir() and {path.suffix for path in folder.iterdir()} == {".svg", ".csv"}
        )


async def test_damaged_and_failed_runs_say_why(three_runs: list[Run]) -> None:
    (three_runs[0].folder / "train.yml").unlink()
    three_runs[1].events_file.write_bytes(b"\0\n" * 100)
    three_runs[2].emit(
        Failed(kind="memory", message="No memory was left.", hint="Lower model.max_seq_length.")
    )
    async with runs_screen(3) as seen:
        assert "train.yml is gone" in seen.text("#details")
        await seen.press("f")  # source.yml is still there
        await seen.until(lambda: seen.app.asked)
        await seen.press("down")
        assert "damaged" in seen.text("#details")
        assert "Nothing in events.jsonl can be read" in seen.text("#details")
        await seen.press("down")
        assert "Lower model.max_seq_length." in seen.text("#details")


async def test_run_without_folder_leaves_the_list(three_runs: list[Run]) -> None:
    async with runs_screen(3) as seen:
        await seen.press("space", "down", "space")
        three_runs[0].remove()
        await seen.until(lambda: len(seen.names()) == 2)
        await seen.press("c")
        assert seen.app.is_running


async def test_narrow_list_and_chart_take_turns(three_runs: list[Run]) -> None:
    async with runs_screen(3, size=(80, 24)) as seen:
        screen = seen.screen
        assert (screen.table.region.height > 8, screen.chart.region.height) == (True, 0)
        await seen.press("v")
        assert (screen.table.region.height, screen.chart.region.height > 12) == (0, True)
        await seen.press("slash")
        assert screen.table.region.height > 8


async def test_thousands_of_runs_make_few_lines(ft_home: Path) -> None:
    """Only those that are seen are made."""
    make_run("20260101-000000-a", steps=3)
    async with runs_screen(1) as seen:
        table = seen.screen.table
        one = table.rows[0]
        asked: list[str] = []
        from dataclasses import replace

        rows = [replace(one, id=f"r{number}", name=f"n{number}") for number in range(5000)]
        real = table._cells
        table._cells = lambda run, *rest: (asked.append(run.id), real(run, *rest))[1]  # type: ignore[method-assign]
        seen.app.runs = tuple(rows)
        table.show(rows)
        await seen.press("end")
        assert table.run is rows[-1]
        assert len(asked) < 200
