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


def test_the_page_lists_every_key_as_the_schema_has_it() -> None:
    assert rewrite(PAGE) == PAGE, "run: python -m engine.config.reference docs/recipe.md"


def test_the_page_shows_the_messages_that_its_recipe_gets() -> None:
    [recipe] = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "lerning_rate" in text]
    with pytest.raises(RecipeError) as caught:
        load_text(recipe, Path("train.yml"), ["training.epochs=many"])
    assert f"error: {caught.value.message}\n" in PAGE


def test_the_page_lists_the_shipped_profiles() -> None:
    for name in profile_names():
        assert re.search(rf"^{name} +{re.escape(profile_summary(name))}$", PAGE, re.MULTILINE)


def test_a_shipped_profile_is_short_lines_of_comments_and_keys() -> None:
    for file in SHIPPED.glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 120
        assert isinstance(yaml.safe_load(text), dict), "any YAML reader reads it"
