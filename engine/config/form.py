"""The fields of a form for recipes, made from the schema: section, key, kind, choices, default, help."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from engine.config.problems import Problem
from engine.config.rules import JsonSchema, alternatives, choices, recipe_schema, rule
from engine.config.yaml_reader import Node, read_yaml, scalar
from engine.config.yaml_writer import Written, inline
from engine.errors import ConfigError
from engine.methods import installed_methods

Kind = Literal["choice", "number", "text", "yaml"]
"""`choice` is one of a few words; `number` and `text` are typed; `yaml` may be a list or a mapping too."""


@dataclass(frozen=True)
class Field:
    """One key of a recipe."""

    section: str
    """Empty for the keys at the top."""
    key: str
    kind: Kind
    choices: tuple[str, ...]
    """Words that the value may be, as they stand in YAML; all that it may be where `kind` is `choice`."""
    default: str | None
    """Value that applies where the key is left out, as YAML; None where it has to be given."""
    help: str
    rule: str
    """Its allowed values, as the end of the sentence "it has to be …"."""

    @property
    def name(self) -> str:
        """The dotted key, as `training.epochs`."""
        return f"{self.section}.{self.key}".lstrip(".")

    def parse(self, typed: str) -> object:
        """Turn typed text into a value for `engine.config.patch.set_value`.

        Numbers and lists stay as they were typed (`2e-4`, `[a, b]`); what does not read as one is text.
        """
        typed = typed.strip()
        if typed == self.default == "null":
            return None
        if self.kind == "text" or "\n" in typed:
            return typed
        if not isinstance(scalar(typed), str) or (typed[:1] in "[{" and _reads(typed)):
            return Written(typed)
        return typed


@cache
def fields() -> tuple[Field, ...]:
    """Every key of a recipe in the schema's order, the keys at the top first."""
    top = recipe_schema()
    sections = {name: _section(schema) for name, schema in top["properties"].items()}
    found = [*_fields("", {name: top["properties"][name] for name, inside in sections.items() if not inside})]
    for name, inside in sections.items():
        if inside:
            found += _fields(name, inside["properties"])
    return tuple(found)


def fields_of(method: str) -> tuple[Field, ...]:
    """Every key of a recipe with this training method: without the sections of the others."""
    others = {one.name for one in installed_methods()} - {method}
    return tuple(field for field in fields() if field.section not in others)


def section_help(name: str) -> str:
    """Help of a section."""
    section = _section(recipe_schema()["properties"].get(name, {}))
    return str(section["description"]) if section else ""


def values(text: str) -> Mapping[str, str]:
    """Value of each key in a recipe's text, as YAML on one line; keys that it leaves out are not included.

    Raises RecipeError where the text is not YAML.
    """
    beside: list[Problem] = []
    root = read_yaml(text, "the recipe", beside).value
    found: dict[str, str] = {}
    for name, entry in root.items() if isinstance(root, dict) else ():
        if isinstance(entry.node.value, dict):
            found |= {f"{name}.{key}": _written(inner.node) for key, inner in entry.node.value.items()}
        else:
            found[name] = _written(entry.node)
    return found


def _section(schema: JsonSchema) -> JsonSchema | None:
    return next(alternatives(schema)) if "$ref" in schema else None


def _fields(section: str, properties: JsonSchema) -> Iterator[Field]:
    for key, schema in properties.items():
        words, kind = _kind(schema)
        default = inline(schema["default"]).removesuffix(".0") if "default" in schema else None
        yield Field(section, key, kind, words, default, schema.get("description", ""), rule(schema))


def _kind(schema: JsonSchema) -> tuple[tuple[str, ...], Kind]:
    types = {branch.get("type", "object") for branch in alternatives(schema)}
    words = choices(schema) if "array" not in types else []
    words += ["true", "false"] if "boolean" in types else []
    if all(_is_word(branch) for branch in alternatives(schema)):
        return tuple(words), "choice"
    if types & {"array", "object"} or {"number", "string"} <= types - _only_words(schema):
        return tuple(words), "yaml"
    return tuple(words), "number" if types & {"integer", "number"} else "text"


def _is_word(branch: JsonSchema) -> bool:
    return "enum" in branch or "const" in branch or branch.get("type") == "boolean"


def _only_words(schema: JsonSchema) -> set[str]:
    """`string`, where all text that is allowed is a few words."""
    strings = [branch for branch in alternatives(schema) if branch.get("type") == "string"]
    return {"string"} if all(_is_word(branch) for branch in strings) else set()


def _written(node: Node) -> str:
    if isinstance(node.value, dict | list):
        return inline(node.data())
    return node.text


def _reads(typed: str) -> bool:
    problems: list[Problem] = []
    try:
        read_yaml(typed, "", problems)
    except ConfigError:
        return False
    return not problems
