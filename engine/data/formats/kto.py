"""Rows with one answer each that somebody called good or bad (KTO), in the shapes of the other formats."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.data.formats import gemini
from engine.data.formats.alpaca import alpaca
from engine.data.formats.base import RowError, RowFormat, is_null, kind
from engine.data.formats.messages import conversation, messages_of
from engine.data.formats.prompt_completion import answered, last_answer
from engine.data.readers.table import Columns
from engine.data.types import LabelledAnswer, Row

SURE: Mapping[str, bool] = MappingProxyType(
    {**dict.fromkeys(("true", "1", "1.0"), True), **dict.fromkeys(("false", "0", "0.0"), False)}
)
"""Words in a column of that name by which it is taken for a label."""
WORDS: Mapping[str, bool] = MappingProxyType(
    {
        **SURE,
        **dict.fromkeys(("yes", "good", "desirable", "chosen"), True),
        **dict.fromkeys(("no", "bad", "undesirable", "rejected"), False),
    }
)
"""Words that are read where the recipe says that rows are labelled."""
NAMES = ("label", "kto_tag")
"""Columns that hold the label: most files', and LLaMA-Factory's."""
ANSWERS = (
    ("prompt", "completion"),
    ("messages",),
    ("conversations",),
    ("instruction", "output"),
    ("contents",),
)
SHAPES = tuple((*answer, name) for name in NAMES for answer in ANSWERS)


def _name(columns: Columns) -> str:
    """The column that holds the label."""
    return next(name for name in NAMES if name in columns)


def _label(value: Any) -> bool | None:
    if isinstance(value, str):
        return WORDS.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def _is_label(columns: Columns) -> bool | None:
    """Judge a label: true and false, 0 and 1 are evidence for labelled answers; other numbers are classes."""
    value = columns[_name(columns)]
    if isinstance(value, str):
        return True if value.strip().lower() in SURE else None
    if is_null(value) or not isinstance(value, bool | int | float):
        return None
    return value in (0, 1)


def _rated(columns: Columns, where: str) -> LabelledAnswer:
    name = _name(columns)
    good = _label(columns[name])
    if good is None:
        raise RowError(f"`{name}` is {kind(columns[name])}; it is true (a good answer) or false")
    return LabelledAnswer(_labelled(columns, where), good)


def _labelled(columns: Columns, where: str) -> Row:
    """Row with the answer that is labelled: of a longer conversation, the last one."""
    if "prompt" in columns and "completion" in columns:
        return answered(columns, where)
    if "contents" in columns and "messages" not in columns:
        return last_answer(gemini.conversation_of(columns, where))
    name = next((name for name in ("messages", "conversations") if name in columns), "")
    row = conversation(columns, messages_of(columns[name], name), where) if name else alpaca(columns, where)
    return last_answer(row)


FORMAT = RowFormat(
    "kto",
    SHAPES[0],
    _rated,
    recognise=_is_label,
    note="sft trains those labelled true",
    others=SHAPES[1:],
    uses=frozenset({*NAMES, "system", "tools", "functions"}) | gemini.SYSTEM,
)
