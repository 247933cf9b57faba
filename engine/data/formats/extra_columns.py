"""Columns beside those that a format reads: one that changes the meaning of a row is refused or reported."""

from engine.data.formats.base import SYSTEM, RowFormat, is_null
from engine.data.formats.kto import NAMES as LABELS
from engine.data.formats.media import FILES, is_file, refuse_media
from engine.data.readers.table import Columns
from engine.data.types import MEDIA, Sample

_BESIDE_INSTRUCTION = frozenset(("input", "history"))
"""Columns that belong to an `instruction`, whatever the format."""


def read(columns: Columns, where: str, row_format: RowFormat) -> Sample:
    """Read a row of a format, and note columns that the format does not use. Raises `RowError`."""
    more = () if row_format.uses is None else columns.keys() - row_format.known
    if not more and row_format.unread.isdisjoint(columns):
        return row_format.read(columns, where)
    refuse_media(columns)
    beside = (columns.keys() & row_format.unread) - MEDIA - set(row_format.columns_in(columns))
    if "instruction" in columns and row_format.reads("instruction"):
        beside -= _BESIDE_INSTRUCTION
    unused = tuple(_unused(name, row_format) for name in sorted(beside) if not is_null(columns[name]))
    unused += tuple(
        f"`{name}`, which holds {FILES} and is not used" for name in sorted(more) if is_file(columns[name])
    )
    sample = row_format.read(columns, where)
    return sample.with_unused(unused) if unused else sample


def _unused(name: str, row_format: RowFormat) -> str:
    if name in SYSTEM and "system" in (row_format.uses or ()):
        return f"`{name}`, which is not used: --set 'data.columns={{system: {name}}}' puts it in front"
    if name == "context" and row_format.name == "alpaca":
        return "`context`, which is not used: --set 'data.columns={input: context}' puts it behind the instruction"
    if name in LABELS and row_format.name in ("chat", "sharegpt", "alpaca", "prompt_completion"):
        return f"`{name}`, which is not used: data.format: kto reads it as good (true) or bad (false)"
    return f"`{name}`, which {row_format.name} does not use"
