"""Rows of an Arrow record batch: objects without the keys that Arrow filled in, JSON as what it says.

A column has one type, so each object in it has the keys of all the others too, with null where it had none:
`{"city": "Oslo", "x": null}`. Such keys are left out of every object inside a column; whether somebody wrote the null
can no longer be found out. Nulls in lists and in maps, and those that are a row's whole column, stay.

pyarrow makes Python values quickly; they are only searched for changes where an array has nulls, JSON, maps
or class labels, which its type and its counts of nulls tell.
"""

import json
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from engine.data.readers.table import Columns

Feature = Any
"""Note of `datasets` on a column in the schema's metadata: nested mappings with a `_type`, or None."""
Fix = Callable[[list[Any]], list[Any]]
"""Changes values as pyarrow gives them: objects in place, the others in the list that is returned."""
METADATA = b"huggingface"
JSON = "arrow.json"


def features_of(schema: Any) -> Mapping[str, Feature]:
    """Notes of `datasets` on the columns; empty where it did not write the file."""
    try:
        return dict(json.loads((schema.metadata or {})[METADATA])["info"]["features"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def repeated_name(schema: Any) -> str:
    """A name that two columns have, or two keys of one object; empty where there is none."""
    seen: set[str] = set()
    for field in schema:
        if field.name in seen:
            return str(field.name)
        seen.add(field.name)
        inner = [field.type.field(number) for number in range(field.type.num_fields)]
        if found := repeated_name(inner):
            return found
    return ""


def rows_of(batch: Any, features: Mapping[str, Feature]) -> list[Columns]:
    """The rows of a record batch. Raises ValueError where a text is not the JSON that its type says it is."""
    rows: list[Columns] = batch.to_pylist()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if fix := _fix_of(column, features.get(name)):
            for row, value in zip(rows, fix([row[name] for row in rows]), strict=True):
                row[name] = value
    return rows


def pruned(value: Any) -> Any:
    """A value without the keys of its objects that are null, as Arrow fills them in."""
    if isinstance(value, dict):
        return {key: pruned(each) for key, each in value.items() if each is not None}
    return [pruned(each) for each in value] if isinstance(value, list) else value


def named_labels(value: Any, feature: Feature) -> Any:
    """A value with the names of its class labels in place of their numbers."""
    if isinstance(value, dict):
        return {key: named_labels(each, _about_key(feature, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [named_labels(each, _about_items(feature)) for each in value]
    is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    return _names_of(feature)([value])[0] if is_label else value


def _fix_of(array: Any, feature: Feature) -> Fix | None:
    """Fix for the values of an array; None if nothing has to change."""
    from pyarrow import types

    kind = array.type
    about = feature.get("_type") if isinstance(feature, dict) else None
    if getattr(kind, "extension_name", "") == JSON or about == "Json":
        return _parse
    if about == "ClassLabel":
        return _names_of(feature)
    if types.is_dictionary(kind):
        return _fix_of(array.dictionary, feature)
    if types.is_struct(kind):
        return _fix_of_objects(array, feature)
    if types.is_map(kind):
        return _fix_of_maps(_fix_of(array.items, None))
    if hasattr(kind, "value_field"):
        # All values of the buffer, not those of this slice: `flatten` would import pyarrow.compute.
        return _fix_of_lists(_fix_of(array.values, _about_items(feature)))
    return None


def _parse(texts: list[Any]) -> list[Any]:
    """JSON as what it says. Raises ValueError."""
    return [None if text is None else json.loads(text) for text in texts]


def _names_of(feature: Mapping[str, Any]) -> Fix:
    """Class labels by their names; None for -1, which `datasets` writes where a label is not known."""
    names = dict(enumerate(feature.get("names") or ())) | {-1: None}
    return lambda numbers: [names.get(number, number) for number in numbers]


def _fix_of_objects(array: Any, feature: Feature) -> Fix | None:
    names = [array.type.field(number).name for number in range(array.type.num_fields)]
    children = [array.field(number) for number in range(array.type.num_fields)]
    gaps = [name for name, child in zip(names, children, strict=True) if child.null_count]
    found = (
        (name, _fix_of(child, _about_key(feature, name))) for name, child in zip(names, children, strict=True)
    )
    inside = [(name, fix) for name, fix in found if fix]

    def fixed(objects: list[Any]) -> list[Any]:
        there = [each for each in objects if each is not None]
        for name, fix in inside:
            for each, value in zip(there, fix([each[name] for each in there]), strict=True):
                each[name] = value
        for each in there:
            for name in gaps:
                if each[name] is None:
                    del each[name]
        return objects

    return fixed if gaps or inside else None


def _fix_of_lists(inside: Fix | None) -> Fix | None:
    if inside is None:
        return None

    def fixed(lists: list[Any]) -> list[Any]:
        flat = [item for each in lists if each is not None for item in each]
        if (changed := inside(flat)) is flat:
            return lists
        items = iter(changed)
        return [None if each is None else list(islice(items, len(each))) for each in lists]

    return fixed


def _fix_of_maps(inside: Fix | None) -> Fix:
    """Maps come as lists of pairs."""

    def fixed(maps: list[Any]) -> list[Any]:
        if inside is None:
            return [None if each is None else dict(each) for each in maps]
        items = iter(inside([value for each in maps if each is not None for _, value in each]))
        return [None if each is None else {key: next(items) for key, _ in each} for each in maps]

    return fixed


def _about_items(feature: Feature) -> Feature:
    """Note on the items of a list."""
    if isinstance(feature, list) and feature:
        return feature[0]
    return feature.get("feature") if isinstance(feature, dict) else None


def _about_key(feature: Feature, name: str) -> Feature:
    """Note on a key of an object. `datasets` up to 3 wrote a list of objects as an object of lists."""
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "Sequence" and isinstance(inside := feature.get("feature"), dict):
        return [inside.get(name)]
    return feature.get(name)
