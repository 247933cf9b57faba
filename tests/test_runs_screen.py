"""The Runs screen as it is used: found, marked, compared, gone on from and deleted by keys alone."""

from pathlib import Path

import pytest

from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Failed, Finished
from engine.runs.directory.run import Run
from engine.runs.index.index import summary_of
from screens.intents import ChatWith, EditRecipe, ShowRun
from screens.runs.compare import CompareScreen
from screens.runs.details import described
from screens.widgets.confirm import Confirm
from tests.app_pilot import shown
from tests.run_fixtures import evaluated, make_run
from tests.runs_screen_pilot import runs_screen


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


async def test_filter_proposes_how_words_go_on(ft_home: Path) -> None:
    run = make_run("20260101-000000-chat", steps=3)
    recipe = run.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("tags: []", "tags: [sql, spider]"))
    async with runs_screen(1) as seen:
        await seen.press("slash", *"sta", "right", *"comp", "right", "space", *"tag", "right", *"sp", "right")
        assert seen.screen.filter.value == "status:completed tag:spider"
        assert seen.names() == ["chat"]
        assert "tags    sql spider" in seen.text("#details")


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
