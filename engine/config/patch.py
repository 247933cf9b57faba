"""Changes one key of a recipe's text in place: comments, order and layout of all else stay.

    set_value(text, "training.learning_rate", 1e-4)
    remove(text, "adapter.dropout")

Every edit is checked by reading its result: what would change anything else is refused.
"""

import copy
from typing import Any

from engine.config.problems import Problem
from engine.config.yaml_edits import Edit, Page, at, canonical
from engine.config.yaml_reader import read_yaml
from engine.config.yaml_spans import spans
from engine.config.yaml_writer import Written
from engine.errors import ConfigError


def set_value(text: str, key: str, value: object) -> str:
    """The text with `key` (dotted, as `training.epochs`) set to `value`: plain data, or `Written` YAML.

    A key that is not there is added below its neighbours, its section too. Raises RecipeError where the
    text is not YAML, ConfigError where the key cannot be changed in place.
    """
    page = _page(text, key)
    wanted = _data(value) if isinstance(value, Written) else value
    return _checked(page, page.put(value, wanted), _with(page.data, page.path, wanted))


def remove(text: str, key: str) -> str:
    """The text without `key`, so that its default holds; the text as it is where there is no such key.

    Raises as `set_value` does.
    """
    page = _page(text, key)
    return _checked(page, page.drop(), _without(page.data, page.path))


def _page(text: str, key: str) -> Page:
    data = _data(text)
    root, end = spans(text)
    return Page(text, key, None if data is None else root, end, data)


def _data(text: str) -> Any:
    # Problems beside the values, as a key given twice, are the editor's to show: its first value counts.
    beside: list[Problem] = []
    return read_yaml(text, "the recipe", beside).data()


def _checked(page: Page, edits: list[Edit], expected: Any) -> str:
    """The edited text, if it says what it should, and nothing else has changed."""
    text = page.text
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    refusal = page.refuse("the text around it is laid out in a way that only a person should edit")
    try:
        found = _data(text)
    except ConfigError as error:
        raise refusal from error
    if canonical(found) != canonical(expected):
        raise refusal
    return text


def _with(data: Any, path: list[str], value: object) -> Any:
    changed = copy.deepcopy(data) if isinstance(data, dict) else {}
    here = changed
    for step in path[:-1]:
        if not isinstance(here.get(step), dict):
            here[step] = {}
        here = here[step]
    here[path[-1]] = value
    return changed


def _without(data: Any, path: list[str]) -> Any:
    changed = copy.deepcopy(data)
    above = at(changed, path[:-1])
    if isinstance(above, dict):
        above.pop(path[-1], None)
    return changed
