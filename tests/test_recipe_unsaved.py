"""Recipe text that was not saved when the app was killed is offered back at the next start."""

from pathlib import Path

import pytest

from engine import paths
from screens.recipe.restore import Restore
from screens.recipe.unsaved import FOLDER, Unsaved, left_behind
from screens.widgets.confirm import Confirm
from tests.recipe_pilot import RECIPE, project, recipe_screen
from tests.terminal import Terminal, until

MINE = RECIPE.replace("rank: 16", "rank: 8")


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return project(tmp_path, monkeypatch) / "train.yml"


def killed_app(path: Path | None, text: str) -> None:
    """Leave the files of an app that is killed with this text in its editor."""
    app = Unsaved()
    app.keep(path, text)
    app.leave()


def files() -> list[Path]:
    return sorted((paths.home() / FOLDER).glob("*"))


def texts() -> list[Path]:
    """Those of a text: each has a lock beside it, which is there before."""
    return [file for file in files() if file.suffix == ".json"]


async def test_typed_recipe_is_on_disk_until_saved(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(MINE)
        await seen.until(texts, "it is on disk")
        (kept,) = texts()
        assert "rank: 8" in kept.read_text()
        assert kept.parent.stat().st_mode & 0o077 == 0
        assert left_behind() == [], "the app that has it is there"
        await seen.pilot.press("f2")
        await seen.until(lambda: not files(), "it is saved, and no longer there")
        seen.editor.change_to(MINE + "# more\n")
        await seen.until(texts, "it is on disk again")
        seen.editor.change_to(MINE)
        await seen.until(lambda: not files(), "it is as it was saved")


async def test_unsaved_recipe_is_offered_as_a_change(recipe: Path) -> None:
    killed_app(recipe, MINE)
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        await seen.pilot.press("enter")
        await seen.until(lambda: seen.editor.text == MINE, "it is open")
        assert recipe.read_text() == RECIPE
        assert seen.screen.changed
        await seen.pilot.press("f2")
        await seen.until(lambda: recipe.read_text() == MINE, "it is saved")
        await seen.until(lambda: not files(), "nothing is left of it elsewhere")


async def test_new_unsaved_recipe_is_offered_back(recipe: Path) -> None:
    """It still counts as unsaved."""
    killed_app(None, MINE)
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        await seen.pilot.press("o")
        await seen.until(lambda: seen.editor.text == MINE, "it is open")
        assert seen.screen.document.path is None
        assert seen.screen.changed
        await seen.until(texts, "it is kept again")


async def test_unsaved_recipe_outlives_an_unreadable_file(recipe: Path) -> None:
    other = recipe.with_name("other.yml")
    other.write_bytes(b"\xff\x00")
    killed_app(other, MINE)
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        await seen.pilot.press("enter")
        await seen.until(lambda: seen.app._notifications, "the file is refused")
        assert [left.text for left in left_behind()] == [MINE]


async def test_passwords_left_out_are_asked_for(recipe: Path) -> None:
    killed_app(None, MINE.replace("train: starter", "train: https://me:hunter2@example.org/x.jsonl"))
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        dialog = seen.app.screen
        assert isinstance(dialog, Restore)
        assert "Passwords were not stored; *** stands" in dialog.details


async def test_unsaved_recipe_is_discarded_or_kept(recipe: Path) -> None:
    killed_app(recipe, MINE)
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        await seen.pilot.press("escape")
        await seen.until(lambda: seen.app.screen is seen.screen, "answered")
        assert len(left_behind()) == 1
    async with recipe_screen() as seen:
        await seen.until_in_front(Restore)
        await seen.pilot.press("x")
        await seen.until(lambda: left_behind() == [], "it is gone")
        assert seen.editor.text == RECIPE


async def test_saved_recipe_is_not_offered_back(recipe: Path) -> None:
    killed_app(recipe, RECIPE)
    assert left_behind() == []
    assert files() == []


async def test_orderly_exit_offers_no_recipe_back(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(MINE)
        await seen.until(texts, "it is on disk")
        await seen.pilot.press("ctrl+q")
        await seen.until_in_front(Confirm)
        await seen.pilot.press("y")
        await seen.until(lambda: not files(), "it was given up")


async def test_terminated_app_leaves_the_recipe_text(recipe: Path) -> None:
    """SIGTERM asks nobody."""
    async with recipe_screen() as seen:
        seen.editor.change_to(MINE)
        await seen.until(texts, "it is on disk")
        seen.app.exit()
    assert [left.text for left in left_behind()] == [MINE]


def test_passwords_are_not_written_down(recipe: Path) -> None:
    killed_app(recipe, MINE.replace("train: starter", "train: https://me:hunter2@example.org/x.jsonl"))
    assert all("hunter2" not in file.read_text() for file in files())


@pytest.mark.parametrize("body", ["", "{", "[]", '{"path": 1, "text": "x", "changed": 0}', "\0"])
def test_foreign_files_are_no_unsaved_recipes(ft_home: Path, body: str) -> None:
    (ft_home / FOLDER).mkdir(parents=True)
    (ft_home / FOLDER / "1-1.json").write_text(body)
    assert left_behind() == []


@pytest.mark.slow
def test_killed_app_loses_no_recipe_text(recipe: Path) -> None:
    """Kill −9, as a machine without memory does it, or a terminal that is closed for good."""
    terminal = Terminal()
    terminal.wait_for("Home")
    terminal.press(b"4")
    terminal.wait_for("# Orders as JSON")
    terminal.press(b"e")
    terminal.wait_for("m Orders as JSON")  # behind a colour: the cursor stands on the # before it
    terminal.press(b"# typed by me\r")
    until(
        lambda: any("typed by me" in file.read_text() for file in texts()),
        "it is on disk",
        lambda: terminal.shown,
    )
    terminal.process.kill()
    terminal.end()
    (left,) = left_behind()
    assert left.path == recipe
    assert left.text == "# typed by me\n" + RECIPE
    assert recipe.read_text() == RECIPE
    again = Terminal()
    again.wait_for("Open unsaved changes of")
    again.press(b"o")
    again.wait_for("# typed by me")
    again.process.kill()
    again.end()
    assert [one.text for one in left_behind()] == [left.text]
