"""The form's fields come from the schema, and what is typed into them means what it would in the text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.config.adapters import ADAPTER_TYPES
from engine.config.form import Field, fields, fields_of, section_help, values
from engine.config.load import load_text
from engine.config.patch import set_value
from engine.config.registries import FORMATS, TEMPLATES
from engine.config.schema import TrainConfig
from engine.data.formats import registry
from engine.errors import ConfigError
from engine.methods import OWN, method_named
from screens.recipe.field_lines import LABEL, SHORT

BASE = "model:\n  base: starter\ndata:\n  train: starter\n"


def field(name: str) -> Field:
    return next(one for one in fields() if one.name == name)


def test_recipe_format_names_match_row_formats() -> None:
    assert set(FORMATS) == {"auto", *registry.FORMATS}


def _keys(sections: Mapping[str, Any]) -> set[str]:
    """Dotted keys of the sections; a name alone where it is no section."""
    found: set[str] = set()
    for name, section in sections.items():
        keys = getattr(section, "model_fields", None)
        found |= {f"{name}.{inner.alias or key}" for key, inner in keys.items()} if keys else {name}
    return found


def test_every_schema_key_has_form_field() -> None:
    """The field has the help of its key."""
    sections = {name: info.annotation for name, info in TrainConfig.model_fields.items()}
    of_methods = {name: method_named(name).config for name in OWN}
    assert {one.name for one in fields()} == _keys(sections) | _keys(of_methods) - set(OWN)
    for method in OWN:
        assert {one.name for one in fields_of(method)} == _keys(sections) | _keys(
            {method: of_methods[method]}
        ) - {method}
    assert all(one.help and one.rule for one in fields())
    assert all(section_help(one.section) for one in fields() if one.section)


def test_form_labels_leave_space_before_values() -> None:
    assert [field.key for field in fields() if len(SHORT.get(field.key, field.key)) >= LABEL] == []


@pytest.mark.parametrize("method", OWN)
def test_form_defaults_are_recipe_defaults(method: str) -> None:
    text = base = f"{BASE}training:\n  method: {method}\n"
    for one in fields_of(method):
        if one.default is not None and one.name != "training.method":
            text = set_value(text, one.name, one.parse(one.default))
    path = Path("/recipes/train.yml")
    assert load_text(text, path).config == load_text(base, path).config


@pytest.mark.parametrize(
    ("name", "kind", "choices"),
    [
        ("adapter.type", "choice", ADAPTER_TYPES),
        ("data.packing", "choice", ("auto", "true", "false")),
        ("training.batch_size", "number", ("auto",)),
        ("training.learning_rate", "number", ()),
        ("model.base", "text", ()),
        ("model.chat_template", "text", TEMPLATES),
        ("data.columns", "yaml", ()),
        ("data.template", "yaml", ()),
        ("data.train", "yaml", ()),
        ("data.validation", "yaml", ()),
        ("evaluation.samples", "yaml", ()),
    ],
)
def test_form_field_suits_its_key(name: str, kind: str, choices: tuple[str, ...]) -> None:
    assert (field(name).kind, field(name).choices) == (kind, choices)


@pytest.mark.parametrize(
    ("name", "typed", "line"),
    [
        ("training.learning_rate", "2e-4", "  learning_rate: 2e-4"),
        ("training.learning_rate", "fast", "  learning_rate: fast"),
        ("training.gradient_checkpointing", "true", "  gradient_checkpointing: true"),
        ("training.max_grad_norm", "null", "  max_grad_norm: null"),
        ("model.revision", "1234", '  revision: "1234"'),
        ("data.train", "[a.jsonl, b.csv]", "  train: [a.jsonl, b.csv]"),
        ("data.train", "[a.jsonl", '  train: "[a.jsonl"'),
        ("data.train", "a: b", '  train: "a: b"'),
    ],
)
def test_typed_form_value_stands_in_text(name: str, typed: str, line: str) -> None:
    assert line in set_value(BASE, name, field(name).parse(typed)).splitlines()


def test_form_shows_wrong_text_as_well() -> None:
    text = "name: x  # y\nmodel:\n  base: 'a b'\n  max_seq_length: many\n"
    text += "evaluation:\n  samples:\n    - one\n    - two\nsedd: 1\n"
    assert values(text) == {
        "name": "x",
        "model.base": "a b",
        "model.max_seq_length": "many",
        "evaluation.samples": "[one, two]",
        "sedd": "1",
    }
    assert values("# nothing\n") == {}
    with pytest.raises(ConfigError):
        values("model: [\n")
