"""What to say of rows of no known format: the setting that would make them one, where that can be told."""

from typing import Any

from engine.data.formats.base import RowFormat, listed
from engine.data.formats.column_names import as_yaml, question_and_answer
from engine.data.formats.registry import FORMS, fitting
from engine.data.readers.table import Columns
from engine.errors import DataError


def unknown_columns(where: str, columns: Columns, others: str | None) -> DataError:
    """The error for a row whose columns are of no format; `others` is the format of other rows."""
    rest = f" (other rows are {others})" if others else ""
    return DataError(f"{where}: columns {listed(columns)} fit no known format{rest}", _hint(columns))


def _hint(columns: Columns) -> str:
    if found := question_and_answer(columns):
        return f"If this is a question and its answer: --set 'data.columns={as_yaml(found)}'"
    for name, value in columns.items():
        if _turns(value):
            return f"If `{name}` holds the messages: --set 'data.columns={as_yaml({'messages': name})}'"
        if isinstance(value, dict) and (form := fitting(value)) is not None:
            inside = {need: f"{name}.{need}" for need in form.found(value)}
            return f"The rows are inside `{name}`: --set 'data.columns={as_yaml(inside)}'"
    needs = "; ".join(f"{form.name}: {', '.join(form.needs)}" for form in FORMS.values())
    return f"{_nearest(columns)}Say in data.columns what they are called, or rename them. Each format needs: {needs}."


def _turns(value: Any) -> bool:
    """Whether a value is a list of turns."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and bool({"role", "from"} & first.keys())


def _nearest(columns: Columns) -> str:
    """The format that is the fewest renamings away, where at least one column fits or nearly does."""
    folded = {name.strip().lower().rstrip("s"): name for name in columns}

    def missing(form: RowFormat) -> list[str]:
        return [need for need in form.needs if need.rstrip("s") not in folded]

    form = min(FORMS.values(), key=lambda form: len(missing(form)) / len(form.needs))
    absent = missing(form)
    if len(absent) == len(form.needs):
        return ""
    spelt = [
        f"`{folded[need.rstrip('s')]}` should be `{need}`"
        for need in form.needs
        if need not in columns and need.rstrip("s") in folded
    ]
    lacks = [f"`{need}` is missing" for need in absent]
    return f"Nearest is {form.name}: {', '.join(spelt + lacks)}. "
