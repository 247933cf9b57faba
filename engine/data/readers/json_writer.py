"""A row that a library made → a line of JSON."""

import json
from collections.abc import Mapping
from typing import Any

from engine.data.readers.arrow_values import Feature, named_labels, pruned
from engine.errors import DataError


def line_of(row: Any, features: Mapping[str, Feature], where: str) -> str:
    """The line of a row: class labels by their names, objects without the keys that are null, which Arrow fills in.

    `features` is what `datasets` knows about the columns. Raises `DataError` where the row holds what is not data.
    """
    if not isinstance(row, Mapping):
        raise DataError(
            f"{where} is {type(row).__name__} where columns by name are expected",
            "A row is {column: value}; pandas gives them by df.to_dict('records').",
        )

    def other(value: Any) -> Any:
        if hasattr(value, "isoformat"):  # dates and times
            return value.isoformat()
        if hasattr(value, "tolist"):  # numpy's arrays and numbers
            return value.tolist()
        raise DataError(
            f"{where} holds {type(value).__name__}, not text, a number, a list or an object",
            "Take such columns out.",
        )

    columns = {str(name): pruned(named_labels(value, features.get(name))) for name, value in row.items()}
    try:
        return json.dumps(columns, ensure_ascii=False, default=other) + "\n"
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} cannot be written as JSON: {error}") from error
