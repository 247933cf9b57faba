"""The Recipe screen with the real service that plans."""

from pathlib import Path

import pytest

from ft.app import FtApp
from screens.recipe.editor import Editor
from screens.recipe.screen import RecipeScreen
from tests.app_pilot import until
from tests.recipe_pilot import RECIPE


@pytest.mark.slow
async def test_the_plan_follows_the_text(
    ft_home_with_starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.yml").write_text(RECIPE, encoding="utf-8")
    app = FtApp(start="recipe")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.screen_stack[0], RecipeScreen), "the screen is there")
        screen = app.screen_stack[0]
        assert isinstance(screen, RecipeScreen)
        await until(pilot, lambda: screen.document.plan, "it is planned")
        assert screen.document.plan is not None
        assert screen.document.plan.work.epochs == 3
        screen.query_one(Editor).change_to(RECIPE + "  epochs: 1\n")
        await until(
            pilot,
            lambda: screen.document.plan is not None and screen.document.plan.work.epochs == 1,
            "it is planned anew",
        )
