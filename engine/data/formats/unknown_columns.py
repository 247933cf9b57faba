"""Errors for rows of unknown format, with the setting that would map their columns where one can be guessed."""

from typing import Any

from engine.data.formats.base import RowFormat, listed
from engine.data.formats.column_names import as_yaml, question_and_answer
from engine.data.formats.registry import FORMATS, fitting
from engine.data.readers.table import Columns
from engine.errors import DataError


def unknown_columns(where: str, columns: Columns, others: str | None) -> DataError:
    """Error for a row whose columns fit no format; `others` is the format of other rows."""
    rest = f" (other rows are {others})" if others else ""
    return DataError(f"{where}: columns {listed(columns)} fit no known format{rest}", _hint(columns))


def _hint(columns: Columns) -> str:
    if found := question_and_answer(columns):
        return f"If this is a question and its answer: --set 'data.columns={as_yaml(found)}'"
    for name, value in columns.items():
        if _is_turns(value):
            return f"If `{name}` holds the messages: --set 'data.columns={as_yaml({'messages': name})}'"
        if isinstance(value, dict) and (row_format := fitting(value)) is not None:
            inside = {need: f"{name}.{need}" for need in row_format.columns_in(value)}
            return f"The rows are inside `{name}`: --set 'data.columns={as_yaml(inside)}'"
    needs = "; ".join(f"{row_format.name}: {', '.join(row_format.needs)}" for row_format in FORMATS.values())
    return (
        f"{_nearest(columns)}Rename them, or say what they are called: --set 'data.columns={{NEEDED: COLUMN}}'. "
        f"Each format needs: {needs}."
    )


def _is_turns(value: Any) -> bool:
    """Return True for a list of turns."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and bool({"role", "from"} & first.keys())


def _nearest(columns: Columns) -> str:
    """Note about the format that needs the fewest renamings; empty if no column comes near."""
    folded = {name.strip().lower().rstrip("s"): name for name in columns}

    def missing(row_format: RowFormat) -> list[str]:
        return [need for need in row_format.needs if need.rstrip("s") not in folded]

    row_format = min(
        FORMATS.values(), key=lambda row_format: len(missing(row_format)) / len(row_format.needs)
    )
    absent = missing(row_format)
    if len(absent) == len(row_format.needs):
        return ""
    spelt = [
        f"`{folded[need.rstrip('s')]}` should be `{need}`"
        for need in row_format.needs
        if need not in columns and need.rstrip("s") in folded
    ]
    lacks = [f"`{need}` is missing" for need in absent]
    return f"Nearest is {row_format.name}: {', '.join(spelt + lacks)}. "
