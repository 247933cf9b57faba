"""Answers that are JSON: parsed, and compared field by field."""

import json
from typing import Any

NOTHING = object()
"""Mark of text that is not JSON."""


def parsed(text: str) -> Any:
    """The value of a JSON text; `NOTHING` where it is none, as with a sentence around it. NaN is not JSON."""
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return NOTHING


def structured(text: str) -> Any:
    """The object or list of a JSON text; `NOTHING` where it is something else."""
    value = parsed(text)
    return value if isinstance(value, dict | list) else NOTHING


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a JSON value by their paths, `a.b[0]`; an empty object or list is a leaf."""
    if isinstance(value, dict) and value:
        parts = ((f"{path}.{json.dumps(key)}", item) for key, item in value.items())
    elif isinstance(value, list) and value:
        parts = ((f"{path}[{at}]", item) for at, item in enumerate(value))
    else:
        return {path: value}
    return {inner: leaf for name, item in parts for inner, leaf in fields(item, name).items()}


def same(one: Any, other: Any) -> bool:
    """Return True for equal leaves: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other)


def agreement(answer: Any, reference: Any) -> float:
    """Share of fields that are in both and equal, of all that are in either, 0 to 1."""
    if answer is NOTHING:
        return 0.0
    ours, theirs = fields(answer), fields(reference)
    agreeing = sum(path in ours and same(ours[path], leaf) for path, leaf in theirs.items())
    return agreeing / len(ours.keys() | theirs.keys())


def _refused(constant: str) -> Any:
    raise ValueError(constant)
