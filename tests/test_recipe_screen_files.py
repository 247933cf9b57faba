"""Opening, saving and losing: what happens to the files around the Recipe screen, and what is asked first."""

from pathlib import Path

import pytest
from textual.widgets import Input

from engine import paths
from engine.config.profiles import profile_names, profile_text
from screens.intents import EditRecipe
from screens.recipe.dialogs import AskPath, Difference, PickProfile, ProfileList
from screens.widgets.confirm import Confirm
from tests.recipe_pilot import RECIPE, Seen, project, recipe_screen


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where the app is started."""
    return project(tmp_path, monkeypatch, None)


@pytest.fixture
def recipe(folder: Path) -> Path:
    path = folder / "train.yml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


async def type_path(seen: Seen, path: str) -> None:
    await seen.until_in_front(AskPath)
    seen.app.screen.query_one(Input).value = path
    await seen.pilot.press("enter")


async def test_empty_folder_offers_recipe_profiles(folder: Path) -> None:
    """Enter takes one."""
    async with recipe_screen() as seen:
        profiles = seen.screen.query_one("#empty ProfileList", ProfileList)
        await seen.until(
            lambda: profiles.option_count == len(profile_names()) and profiles.has_focus, "listed"
        )
        await seen.pilot.press("down", "enter")
        await seen.until(lambda: seen.screen.opened, "it is open")
        assert seen.editor.text == profile_text(profile_names()[1])
        assert seen.title == "new train.yml · new"
        assert list(folder.iterdir()) == []


async def test_new_recipe_is_saved_where_asked(folder: Path) -> None:
    async with recipe_screen() as seen:
        seen.app.open(EditRecipe(text=RECIPE))
        await seen.until(lambda: seen.screen.opened, "it is open")
        await seen.pilot.press("f2")
        await type_path(seen, "runs/orders.yml")
        await seen.until(lambda: seen.title == "runs/orders.yml", "it is saved")
        assert (folder / "runs/orders.yml").read_text() == RECIPE


async def test_saving_an_open_file_asks_nothing(recipe: Path) -> None:
    recipe.chmod(0o600)
    async with recipe_screen() as seen:
        text = RECIPE.replace("16", "8")
        seen.editor.change_to(text)
        await seen.until(lambda: seen.title == "train.yml · changed", "it is changed")
        await seen.pilot.press("w")
        await seen.until(lambda: seen.title == "train.yml", "it is saved")
        assert recipe.read_text() == text
        assert recipe.stat().st_mode & 0o777 == 0o600


async def test_recipe_changed_elsewhere_is_not_overwritten_unasked(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(RECIPE.replace("16", "8"))
        recipe.write_text("# of another program\n")
        await seen.pilot.press("f2")
        await seen.until_in_front(Confirm)
        await seen.pilot.press("enter")  # the focus is on No
        await seen.until(lambda: seen.app.screen is seen.screen, "answered")
        assert recipe.read_text() == "# of another program\n"
        assert seen.screen.changed
        await seen.pilot.press("f2")
        await seen.until_in_front(Confirm)
        await seen.pilot.press("y")
        await seen.until(lambda: not seen.screen.changed, "it is saved")
        assert recipe.read_text() == RECIPE.replace("16", "8")


async def test_unsaved_recipe_is_not_lost_unasked(recipe: Path, folder: Path) -> None:
    other = folder / "other.yml"
    other.write_text("name: other\n")
    async with recipe_screen() as seen:
        mine = RECIPE.replace("16", "8")
        seen.editor.change_to(mine)
        seen.app.open(EditRecipe(other))
        await seen.until_in_front(Confirm)
        await seen.pilot.press("escape")
        await seen.until(lambda: seen.app.screen is seen.screen, "answered")
        assert seen.editor.text == mine
        await seen.pilot.press("p")
        await seen.until_in_front(PickProfile)
        listed = seen.app.screen.query_one(ProfileList)
        await seen.until(lambda: listed.option_count, "the profiles")
        await seen.pilot.press("enter")
        await seen.until_in_front(Confirm)
        await seen.pilot.press("y")
        await seen.until(lambda: seen.editor.text == profile_text("starter"), "the profile is open")


async def test_leaving_asks_about_unsaved_recipe(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(RECIPE.replace("16", "8"))
        seen.app.go("home")
        await seen.pilot.press("q")
        await seen.until_in_front(Confirm)
        await seen.pilot.press("escape")
        await seen.until(lambda: not isinstance(seen.app.screen, Confirm), "answered")
        assert seen.app.is_running


async def test_changed_recipe_is_shown_as_changed(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.app.open(EditRecipe(recipe, RECIPE.replace("16", "8")))
        await seen.until(lambda: seen.title == "train.yml · changed", "it is shown")
        assert seen.screen.document.in_file == RECIPE


async def test_another_recipe_is_opened_by_its_name(recipe: Path, folder: Path) -> None:
    (folder / "other.yml").write_text("name: other\n")
    async with recipe_screen() as seen:
        await seen.pilot.press("o")
        await type_path(seen, "other.yml")
        await seen.until(lambda: seen.title == "other.yml", "it is open")
        await seen.pilot.press("o")
        await type_path(seen, "nowhere.yml")
        await seen.until(lambda: seen.app.problems, "it is not there")
        assert "nowhere.yml does not exist" in seen.app.problems[-1].message
        assert seen.title == "other.yml"


async def test_recipes_near_are_listed_to_choose_from(recipe: Path, folder: Path) -> None:
    (folder / "other.yaml").write_text("name: other\n")
    (folder / "rows.jsonl").write_text("{}\n")
    async with recipe_screen() as seen:
        await seen.pilot.press("o")
        await seen.until_in_front(AskPath)
        listed = seen.app.screen.query_one("OptionList")
        await seen.until(lambda: getattr(listed, "option_count", 0) == 2, "both recipes")
        await seen.pilot.press("down", "down", "enter")
        await seen.until(lambda: seen.screen.document.title in ("other.yaml", "train.yml"), "one is open")


async def test_unsaved_recipe_changes_are_shown_by_line(recipe: Path) -> None:
    async with recipe_screen() as seen:
        await seen.pilot.press("f4")
        await seen.until_in_front(Difference)
        assert "as in the file" in str(seen.app.screen.query_one("Static").render())
        await seen.pilot.press("escape")
        seen.editor.change_to(RECIPE.replace("  alpha: 32\n", "  alpha: 64\n"))
        await seen.pilot.press("f4")
        await seen.until_in_front(Difference)
        lines = str(seen.app.screen.query_one("Static").render()).splitlines()
        assert "-  alpha: 32" in lines
        assert "+  alpha: 64" in lines


async def test_own_profile_is_kept_and_offered(recipe: Path) -> None:
    async with recipe_screen() as seen:
        await seen.pilot.press("P")
        await type_path(seen, str(paths.profiles() / "mine.yml"))
        await seen.until(lambda: "mine" in profile_names(), "it is kept")
        assert profile_text("mine") == RECIPE
        assert seen.screen.document.path == recipe
        await seen.pilot.press("p")
        await seen.until_in_front(PickProfile)
        listed = seen.app.screen.query_one(ProfileList)
        await seen.until(lambda: listed.option_count == len(profile_names()), "it is offered")


async def test_recipe_changed_elsewhere_is_read_again(recipe: Path) -> None:
    """Coming back to the screen reads it."""
    async with recipe_screen() as seen:
        seen.app.go("settings")
        recipe.write_text(RECIPE.replace("16", "24"))
        await seen.pilot.pause()
        seen.app.go("recipe")
        await seen.until(lambda: "rank: 24" in seen.editor.text, "it is read again")
        assert not seen.screen.changed


async def test_outside_changes_leave_unsaved_recipe_alone(recipe: Path) -> None:
    async with recipe_screen() as seen:
        seen.editor.change_to(RECIPE.replace("16", "8"))
        seen.app.go("settings")
        recipe.write_text(RECIPE.replace("16", "24"))
        await seen.pilot.pause()
        seen.app.go("recipe")
        await seen.until(lambda: "rank: 8" in seen.editor.text, "the text stays")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * 1_100_000], ids=["no text", "too large"])
async def test_file_without_a_recipe_is_told(recipe: Path, content: bytes) -> None:
    recipe.with_name("bad.yml").write_bytes(content)
    async with recipe_screen() as seen:
        seen.app.open(EditRecipe(recipe.with_name("bad.yml")))
        await seen.until(lambda: seen.app.problems, "an error")
        assert "bad.yml" in seen.app.problems[-1].message
        assert seen.editor.text == RECIPE


async def test_readonly_folder_keeps_the_recipe_text(recipe: Path, folder: Path) -> None:
    async with recipe_screen() as seen:
        (folder / "file").write_text("")
        await seen.pilot.press("W")
        await type_path(seen, "file/train.yml")
        await seen.until(lambda: seen.app.problems, "an error")
        assert seen.screen.document.path == recipe


async def test_line_breaks_of_windows_stay(recipe: Path) -> None:
    recipe.write_bytes(RECIPE.replace("\n", "\r\n").encode())
    async with recipe_screen() as seen:
        await seen.until_planned()
        await seen.enter("adapter.rank", "8")
        await seen.until(lambda: "rank: 8" in seen.editor.text, "it is changed")
        await seen.pilot.press("f2")
        await seen.until(lambda: not seen.screen.changed, "it is saved")
        expected = RECIPE.replace("rank: 16          #", "rank: 8           #").replace("\n", "\r\n")
        assert recipe.read_bytes() == expected.encode()
