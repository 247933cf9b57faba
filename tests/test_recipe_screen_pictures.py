"""Pictures of the Recipe screen, with a machine that never changes and no cursor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.recipe.screen import RecipeScreen
from tests.app_pilot import freeze, until
from tests.recipe_pilot import RECIPE, RecipeApp, project

SIZES = [(80, 24), (120, 36), (200, 50)]
Compare = Callable[..., bool]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which the app is started."""
    monkeypatch.setenv("COLORTERM", "truecolor")
    freeze(monkeypatch)
    return project(tmp_path, monkeypatch, None)


async def screen_of(pilot: Pilot[Any]) -> RecipeScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen_stack[0], RecipeScreen), "the screen is there")
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RecipeScreen)
    return screen


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_recipe_that_fits(snap_compare: Compare, folder: Path, size: tuple[int, int]) -> None:
    (folder / "train.yml").write_text(RECIPE, encoding="utf-8")

    async def planned(pilot: Pilot[Any]) -> None:
        screen = await screen_of(pilot)
        await until(pilot, lambda: screen.document.plan, "it is planned")

    assert snap_compare(RecipeApp(), terminal_size=size, run_before=planned)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_recipe_with_problems(snap_compare: Compare, folder: Path, size: tuple[int, int]) -> None:
    wrong = RECIPE.replace("alpha", "alpa").replace("1e-3", "fast")
    (folder / "train.yml").write_text(wrong, encoding="utf-8")

    async def marked(pilot: Pilot[Any]) -> None:
        screen = await screen_of(pilot)
        await until(pilot, lambda: len(screen.document.problems) == 2, "they are marked")

    assert snap_compare(RecipeApp(), terminal_size=size, run_before=marked)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_recipe_yet(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def listed(pilot: Pilot[Any]) -> None:
        screen = await screen_of(pilot)
        await until(pilot, lambda: screen.focused, "the profiles are listed")

    assert snap_compare(RecipeApp(), terminal_size=size, run_before=listed)


@pytest.mark.parametrize("pane", ["form", "plan"])
def test_the_other_panes_of_a_small_terminal(snap_compare: Compare, folder: Path, pane: str) -> None:
    (folder / "train.yml").write_text(RECIPE, encoding="utf-8")

    async def turned(pilot: Pilot[Any]) -> None:
        screen = await screen_of(pilot)
        await until(pilot, lambda: screen.document.plan, "it is planned")
        screen.pane = pane
        await pilot.pause()

    assert snap_compare(RecipeApp(), terminal_size=(80, 24), run_before=turned)


def test_without_colour(snap_compare: Compare, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    (folder / "train.yml").write_text(RECIPE.replace("alpha", "alpa"), encoding="utf-8")

    async def marked(pilot: Pilot[Any]) -> None:
        screen = await screen_of(pilot)
        await until(pilot, lambda: screen.document.problems, "it is marked")

    assert snap_compare(RecipeApp(), terminal_size=(120, 36), run_before=marked)
