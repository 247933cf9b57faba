"""Problems of a recipe, as the Recipe screen shows them: between the lines, while one types."""

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


async def test_recipe_problems_are_told_between_lines() -> None:
    """F8 leads from one to the next."""
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


async def test_plan_returns_after_problems_are_corrected() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        await seen.pilot.press("ctrl+z")
        await seen.until_planned()
        assert seen.editor.text == RECIPE
        assert not any("╰" in line or "✖" in line for line in seen.lines)


async def test_far_problem_is_shown_from_line_start() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to("# one\n" * 60 + "# and a long comment" * 9 + "\n" + WRONG)
        await seen.until_wrong(2)
        await seen.pilot.press("f8")
        await seen.until(lambda: "73✖   rank: many          # its size" in seen.lines, "the line")


async def test_cursor_and_mouse_find_lines_below_notes() -> None:
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


async def test_notes_follow_their_lines_while_typing() -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(WRONG)
        await seen.until_wrong(2)
        seen.editor.move_cursor((0, 0))
        await seen.pilot.press("e", "enter")
        at = seen.lines.index("14✖   alpa: 32")
        assert seen.lines[at + 1].startswith("  ╰ there is no such key")


async def test_scrolled_line_stays_when_note_appears() -> None:
    long = "".join(f"# {number}\n" for number in range(100)) + RECIPE
    async with recipe_screen() as seen:
        seen.editor.change_to(long)
        await seen.until_planned()
        seen.editor.move_cursor((114, 0), center=True)
        before = seen.lines.index("115  training:")
        seen.editor.change_to(long.replace("alpha", "alpa"))
        await seen.until_wrong(1)
        assert seen.lines[before] == "115  training:"


async def test_files_missing_beside_recipe_are_marked(recipe: Path) -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(RECIPE.replace("train: starter", "train: rows.jsonl"))
        await seen.until_wrong(1)
        assert "rows.jsonl does not exist" in seen.screen.document.problems[0].message
        assert list(seen.editor.problems) == [8]
        (recipe.parent / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
        seen.screen.recheck()
        await seen.until_wrong(0)
