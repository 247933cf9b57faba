"""Pydantic's errors as problems that a person understands: place, key, rule, what was meant."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from engine.config.problems import Place, Problem
from engine.config.rules import choices, keys_of, nearest, nearest_key, rule, schema_of
from engine.config.schema import TrainConfig
from engine.config.yaml_reader import Node, scalar

Path = tuple[str | int, ...]
MOST = 200
"""Most mistakes that are explained: a file with more is not a recipe, and the rest would not help."""
LONGEST = 60
"""Characters of a value or key that a message repeats."""
REQUIRED = tuple(name for name, field in TrainConfig.model_fields.items() if field.is_required())


def validate(root: Node, problems: list[Problem]) -> TrainConfig | None:
    """The configuration of a tree, or None with all that is wrong added to `problems`."""
    try:
        return _check(root)
    except ValidationError as error:
        first = error.errors(include_url=False)
    if _text_as_written(root, first):
        return validate(root, problems)
    paths: dict[Path, Any] = {}
    for one in first[:MOST]:
        paths.setdefault(_path(root, one), one)
    told = {problem.place for problem in problems if problem.place.line}
    found: list[Problem] = []
    for path, one in paths.items():
        found += _combinations(root, one) if one["type"] == "value_error" else [_problem(root, path, one)]
    if () not in paths:
        found += _hidden(root, list(paths))
    problems.extend(problem for problem in found if problem.place not in told)
    return None


def _check(root: Node, without: Sequence[Path] = ()) -> TrainConfig:
    # A required section that is left out is empty, so that what it needs is named.
    data = dict.fromkeys(REQUIRED) | root.data()
    for path in without:
        _remove(data, path)
    return TrainConfig.model_validate(data)


def _text_as_written(root: Node, errors: list[Any]) -> bool:
    """Read unquoted numbers and switches as text where text is declared; True if there were any."""
    changed = False
    for error in errors:
        node = _walk(root, error["loc"])[1]
        if error["type"] == "string_type" and node.plain and not isinstance(node.value, str | None):
            node.value, changed = node.text, True
    return changed


def _hidden(root: Node, wrong: list[Path]) -> list[Problem]:
    """Problems of what remains without the wrong values: combinations and a method's section are checked last."""
    try:
        _check(root, wrong)
    except ValidationError as error:
        found = error.errors(include_url=False)
    else:
        return []
    problems: list[Problem] = []
    for one in found:
        if one["type"] == "value_error":
            problems += _combinations(root, one)
        elif (
            one["loc"][0] not in TrainConfig.model_fields
        ):  # what is missing elsewhere has been taken out here
            problems.append(_problem(root, _path(root, one), one))
    return problems


def _remove(data: Any, path: Path) -> None:
    *front, last = path
    for step in front:
        data = data.get(step) if isinstance(data, dict) else data[int(step)]
    if isinstance(data, dict):
        data.pop(last, None)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        data[last] = None


def _walk(root: Node, loc: Sequence[str | int]) -> tuple[Path, Node, Place]:
    """Follow pydantic's location as far as the tree goes: path, node, and the key's place.

    Pydantic puts the names of union branches into a location; the tree has no such keys, so they fall out.
    """
    path: list[str | int] = []
    node, key_place = root, Place(root.place.origin, 1, 1)
    for step in loc:
        if isinstance(node.value, dict) and step in node.value:
            entry = node.value[str(step)]
            node, key_place = entry.node, entry.place
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            key_place = node.place
        else:
            continue
        path.append(step)
    return tuple(path), node, key_place


def _path(root: Node, error: Any) -> Path:
    path = _walk(root, error["loc"])[0]
    if error["type"] != "missing":
        return path
    in_section = error["loc"][:1] if not path and error["loc"][0] in REQUIRED else path
    return (*in_section, error["loc"][-1])


def dotted(path: Sequence[str | int]) -> str:
    """`data.train[0].path`."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{_short(s)}" for s in path).lstrip(".")


def _problem(root: Node, path: Path, error: Any) -> Problem:
    key = dotted(path)
    _, node, key_place = _walk(root, path)
    if error["type"] == "missing":
        schema = schema_of(path) or {}
        return Problem(key_place, f"{key} is missing: {schema.get('description', '')}".rstrip(": "), key)
    if error["type"] == "extra_forbidden":
        return _unknown(key_place, path, key)
    schema = schema_of(path) or {}
    place = key_place if node.plain and not node.text else node.place
    written, meant = _written(node), _meant(node, schema)
    message = f"{key}: {written}; it has to be {rule(schema)}"
    return Problem(place, message + (f": {meant}" if meant else ""), key, meant)


def _unknown(place: Place, path: Path, key: str) -> Problem:
    found = nearest_key(path)
    if found:
        return Problem(place, f"{key}: there is no such key; did you mean {found}?", key, found)
    section = dotted(path[:-1])
    known = ", ".join(keys_of(path[:-1]))
    return Problem(place, f"{key}: there is no such key; {section or 'a recipe'} has {known}", key)


def _written(node: Node) -> str:
    """The value found, as the start of "…; it has to be"."""
    if isinstance(node.value, dict):
        return "a mapping is not allowed"
    if isinstance(node.value, list):
        return "a list is not allowed" if node.value else "an empty list is not allowed"
    if node.value is None:
        return "has no value" if not node.text else f"{node.text} is not allowed"
    shown = _short(node.text)
    if _is_quoted_number(node):
        return f'"{shown}" is text because of its quotes'
    return f"{shown or 'empty text'} is not allowed"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _is_quoted_number(node: Node) -> bool:
    return not node.plain and bool(node.text) and not isinstance(scalar(node.text), str)


def _meant(node: Node, schema: dict[str, Any]) -> str:
    """The probable intention, as an instruction; empty where there is none."""
    if isinstance(node.value, dict | list) or not node.text or len(node.text) > LONGEST:
        return ""
    if word := nearest(node.text, choices(schema)):
        return f"did you mean {word}?"
    numbers = re.fullmatch(r"[-+]?[\d_, ]*\.?\d+(?:[eE][-+]?\d+)?", node.text)
    if _is_quoted_number(node):
        return f"write {node.text}"
    if numbers and isinstance(node.value, str):
        return f"write {re.sub('[_, ]', '', node.text)}"
    if percent := re.fullmatch(r"(\d+(?:\.\d+)?) *%", node.text):
        return f"write {float(percent[1]) / 100:g}"
    return ""


def _combinations(root: Node, error: Any) -> list[Problem]:
    """Problems of `engine.config.combinations`: each line starts with the key at fault."""
    problems = []
    for line in str(error["ctx"]["error"]).splitlines():
        key = line.partition(": ")[0]
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", key)]
        _, node, _ = _walk(root, steps)
        problems.append(Problem(node.place, line, key))
    return problems
