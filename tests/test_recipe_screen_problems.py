"""What is wrong with a recipe, as the Recipe screen tells it: between the lines, while one types."""

from pathlib import Path

import pytest

from screens.recipe.editor import Editor
from tests.recipe_pilot import RECIPE, project, recipe_screen

WRONG = RECIPE.replace("alpha: 32", "alpa: 32").replace("rank: 16", "rank: many")
"""Two problems, on lines 12 and 13."""


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe that the app is started beside."""
    return project(tmp_path, monkeypatch) / "train.yml"


async def test_problems_are_told_between_the_lines_and_f8_leads_from_one_to_the_next() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        assert seen.lines[10:18] == [
            "11  adapter:",
            "12✖   rank: many          # its size",
            "  ╰ many is not allowed; it has to be a whole",
            "    number from 1 to 1024",
            "13✖   alpa: 32",
            "  ╰ there is no such key; did you mean alpha?",
            "14",
            "15  training:",
        ]
        assert seen.form.wrong == {"adapter.rank", "adapter.alpa"}
        assert "2 problems" in seen.note
        for place in ((11, 8), (12, 2), (11, 8)):
            await seen.pilot.press("f8")
            assert seen.editor.cursor_location == place


async def test_when_all_problems_are_corrected_the_plan_comes_back() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        await seen.pilot.press("ctrl+z")
        await seen.until_planned()
        assert seen.editor.text == RECIPE
        assert not any("╰" in line or "✖" in line for line in seen.lines)


async def test_a_problem_far_down_is_shown_from_the_start_of_its_line() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to("# one\n" * 60 + "# and a long comment" * 9 + "\n" + WRONG)
        await seen.until_wrong(2)
        await seen.pilot.press("f8")
        await seen.until(lambda: "73✖   rank: many          # its size" in seen.lines, "the line")


async def test_the_cursor_and_the_mouse_find_their_line_below_a_note() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        seen.editor.move_cursor((11, 0))
        await seen.pilot.press("e", "down", "down")
        assert seen.editor.cursor_location == (13, 0)
        shown = seen.lines.index("15  training:")
        await seen.pilot.click(Editor, offset=(6, shown))
        assert seen.editor.cursor_location == (14, 2)
        await seen.pilot.press("x")
        await seen.pilot.click(Editor, offset=(6, shown - 2))
        assert seen.editor.cursor_location[0] == 12  # on the note: the line that it is about


async def test_notes_go_along_with_their_lines_while_somebody_types() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        seen.editor.move_cursor((0, 0))
        await seen.pilot.press("e", "enter")
        at = seen.lines.index("14✖   alpa: 32")
        assert seen.lines[at + 1].startswith("  ╰ there is no such key")


async def test_a_line_scrolled_to_keeps_its_place_when_a_note_comes_above_it() -> None:
    long = "".join(f"# {number}\n" for number in range(100)) + RECIPE
    async with recipe_screen() as seen:
        seen.editor.change_to(long)
        await seen.until_planned()
        seen.editor.move_cursor((114, 0), center=True)
        before = seen.lines.index("115  training:")
        seen.editor.change_to(long.replace("alpha", "alpa"))
        await seen.until_wrong(1)
        assert seen.lines[before] == "115  training:"


async def test_files_are_looked_for_beside_the_recipe_and_missing_ones_are_marked(recipe: Path) -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(RECIPE.replace("train: starter", "train: rows.jsonl"))
        await seen.until_wrong(1)
        assert "rows.jsonl does not exist" in seen.screen.document.problems[0].message
        assert list(seen.editor.problems) == [8]
        (recipe.parent / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
        seen.screen.recheck()
        await seen.until_wrong(0)
