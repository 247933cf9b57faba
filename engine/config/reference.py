"""The table of all keys in `docs/recipe.md`, made from the schema: `python -m engine.config.reference`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.config.rules import JsonSchema, alternatives, recipe_schema, rule

START, END = (
    "<!-- keys: made by `python -m engine.config.reference docs/recipe.md` -->",
    "<!-- end of keys -->",
)


def reference() -> str:
    """A Markdown section for every section of the recipe, with a row for each key."""
    schema = recipe_schema()
    parts = [_table("At the top", "", {k: v for k, v in schema["properties"].items() if not _section(v)})]
    for name, value in schema["properties"].items():
        if section := _section(value):
            parts.append(_table(f"`{name}`", section["description"], section["properties"]))
    return "\n".join(parts)


def rewrite(page: str) -> str:
    """The page with an updated table of keys."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{reference()}\n{END}{rest.partition(END)[2]}"


def _section(schema: JsonSchema) -> JsonSchema | None:
    if "$ref" not in schema:
        return None
    return next(alternatives(schema))


def _table(title: str, help_: str, properties: JsonSchema) -> str:
    head = f"### {title}\n\n" + (f"{help_}\n\n" if help_ else "")
    return head + "\n".join(["| key | default | may be | |", "|---|---|---|---|", *_rows(properties)]) + "\n"


def _rows(properties: JsonSchema) -> Iterator[str]:
    for key, schema in properties.items():
        default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "**required**"
        cells = [f"`{key}`", default.replace('"', ""), rule(schema), schema.get("description", "")]
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(rewrite(file.read_text(encoding="utf-8")), encoding="utf-8")
