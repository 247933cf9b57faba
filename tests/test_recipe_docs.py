"""docs/recipe.md says what the program says."""

import re
from pathlib import Path

import pytest
import yaml

from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.config.profiles import SHIPPED, profile_names, profile_summary
from engine.config.reference import rewrite

PAGE = (Path(__file__).parent.parent / "docs" / "recipe.md").read_text(encoding="utf-8")


def test_page_lists_every_recipe_key() -> None:
    """The page says of them what the schema says."""
    assert rewrite(PAGE) == PAGE, "run: python -m engine.config.reference docs/recipe.md"


def test_page_shows_messages_of_its_recipe() -> None:
    [recipe] = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "lerning_rate" in text]
    with pytest.raises(RecipeError) as caught:
        load_text(recipe, Path("train.yml"), ["training.epochs=many"])
    assert f"error: {caught.value.message}\n" in PAGE


def test_the_page_lists_the_shipped_profiles() -> None:
    for name in profile_names():
        assert re.search(rf"^{name} +{re.escape(profile_summary(name))}$", PAGE, re.MULTILINE)


def test_shipped_profile_has_short_lines() -> None:
    """They are comments and keys."""
    for file in SHIPPED.glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 120
        assert isinstance(yaml.safe_load(text), dict), "any YAML reader reads it"
