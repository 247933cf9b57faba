"""Training methods of other packages: the name in `training.method`, and the section with the method's own keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from engine import plugins
from engine.config.form import fields
from engine.config.load import load_text
from engine.config.problems import Problem, RecipeError
from engine.config.rules import recipe_schema
from engine.config.schema import TrainConfig
from engine.methods import OWN, installed_methods, method_named
from engine.objectives.sft import Sft, Supervised
from tests.plugin_package import ft, install

MODULE = '''
from dataclasses import dataclass
from typing import Literal

from engine.config.values import Section
from engine.methods import Method


class Margin(Section):
    """Pairs with a margin."""

    beta: float = 0.1
    """Weight of the reference."""
    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    """Loss of a pair's difference."""


@dataclass(frozen=True)
class Odds:
    """Odds of two answers."""

    weight: float = 1.0
    """Weight of the odds ratio."""


margin = Method("margin", build=lambda config: ("objective", config), config=Margin, samples="pairs")
odds = Method("odds", build="json:dumps", config=Odds)
bare = Method("bare", build="json:JSONDecoder")
wrong = 3
'''
METHODS = {name: f"ft_margin:{name}" for name in ("margin", "odds", "bare", "wrong")} | {
    "broken": "ft_margin:absent"
}
TEXT = "model: {base: starter}\ndata: {train: starter}\n"
PATH = Path("/recipes/train.yml")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on Python's path with a package that brings methods."""
    folder = tmp_path / "packages"
    install(folder, "ft_margin", MODULE, {plugins.METHODS: METHODS})
    monkeypatch.syspath_prepend(str(folder))
    caches = (plugins.installed, recipe_schema, fields)
    for cached in caches:
        cached.cache_clear()
    yield folder
    for cached in caches:
        cached.cache_clear()


def config(text: str) -> TrainConfig:
    return load_text(TEXT + text, PATH).config


def problems(text: str) -> list[Problem]:
    with pytest.raises(RecipeError) as raised:
        config(text)
    return list(raised.value.problems)


def test_method_without_package_is_unknown() -> None:
    """Its section is unknown too."""
    messages = [problem.message for problem in problems("training: {method: margin}\nmargin: {beta: 0.2}\n")]
    assert (
        "training.method: margin is not allowed; it has to be sft, dpo, orpo, simpo, cpo or kto" in messages
    )
    assert any(message.startswith("margin: there is no such key") for message in messages)


@pytest.mark.usefixtures("packages")
def test_chosen_methods_section_has_its_type() -> None:
    found = config("training: {method: margin}\nmargin: {beta: 0.2}\n")
    assert type(found.method_config).__name__ == "Margin"
    assert found.method_config.beta == 0.2
    assert method_named("margin").objective(found.method_config) == ("objective", found.method_config)
    assert method_named("bare").objective().decode("[1]") == [1]
    assert isinstance(method_named("sft").objective(config("").method_config), Supervised)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("method", ["margin", "odds"])
def test_resolved_recipe_includes_method_defaults(method: str) -> None:
    """It reads the same again."""
    recipe = load_text(TEXT + f"training: {{method: {method}}}\n", PATH)
    assert yaml.safe_load(recipe.resolved())[method]
    assert load_text(recipe.resolved(), PATH).config == recipe.config


@pytest.mark.usefixtures("packages")
def test_recipe_without_method_section_is_unchanged() -> None:
    recipe = load_text(TEXT, PATH)
    assert set(yaml.safe_load(recipe.resolved())) == {*TrainConfig.model_fields, "sft"}
    assert recipe.config.method_config == Sft()


@pytest.mark.usefixtures("packages")
def test_section_of_another_method_is_refused() -> None:
    """The message names both ways out."""
    (problem,) = problems("margin: {beta: 0.2}\n")
    assert problem.place.line == 3
    assert problem.message == (
        "margin: is the section of training.method: margin, and training.method is sft; "
        "leave it out, or use training.method: margin"
    )


@pytest.mark.usefixtures("packages")
def test_section_of_keyless_method_is_refused() -> None:
    (problem,) = problems("training: {method: bare}\nbare: {beta: 1}\n")
    assert problem.message == "bare: training.method: bare has no keys of its own; leave it out"


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("margin: {beta: many}", "margin.beta: many is not allowed; it has to be a number"),
        ("margin: {bta: 1.0}", "margin.bta: there is no such key; did you mean beta?"),
        (
            "margin: {loss: sigmoidd}",
            "margin.loss: sigmoidd is not allowed; it has to be sigmoid or hinge: did you mean sigmoid?",
        ),
    ],
)
def test_method_section_error_has_place_and_rule(section: str, message: str) -> None:
    (problem,) = problems(f"training: {{method: margin}}\n{section}\n")
    assert (problem.place.line, problem.message) == (4, message)


@pytest.mark.usefixtures("packages")
def test_method_section_errors_join_other_errors() -> None:
    """They are reported together."""
    found = problems("seed: -1\ntraining: {method: margin, batch_size: 99}\nmargin: {beta: many}\n")
    assert {problem.key for problem in found} == {"seed", "margin.beta"}


@pytest.mark.usefixtures("packages")
def test_method_dataclass_is_strict_as_section() -> None:
    (problem,) = problems("training: {method: odds}\nodds: {weigth: 2.0}\n")
    assert problem.message == "odds.weigth: there is no such key; did you mean weight?"


@pytest.mark.usefixtures("packages")
def test_schema_and_form_show_method_keys() -> None:
    """Each key has its help."""
    section = recipe_schema()["$defs"]["margin"]
    assert section["properties"]["beta"]["description"] == "Weight of the reference."
    by_name = {field.name: field for field in fields()}
    assert by_name["margin.loss"].choices == ("sigmoid", "hinge")
    assert by_name["odds.weight"].help == "Weight of the odds ratio."
    assert "broken" not in recipe_schema()["properties"]


@pytest.mark.usefixtures("packages")
def test_plugin_methods_are_listed_last() -> None:
    """Those that load."""
    assert [method.name for method in installed_methods()] == [*OWN, "bare", "margin", "odds"]


def test_broken_method_package_is_named(packages: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "train.yml"
    recipe.write_text(TEXT)
    assert ft(packages, tmp_path, "validate", str(recipe), "--set", "training.method=odds").returncode == 0
    for name, message in {
        "broken": "training.method: broken does not load",
        "wrong": "training.method: wrong names int, not an engine.methods.Method",
    }.items():
        done = ft(packages, tmp_path, "validate", str(recipe), "--set", f"training.method={name}")
        assert done.returncode == 7
        assert message in done.stderr
        assert "training.method: sft" in done.stderr
