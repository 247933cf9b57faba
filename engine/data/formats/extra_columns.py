"""Columns beside those that a format reads: what changes the meaning of a row is refused or reported, never dropped."""

from dataclasses import replace

from engine.data.formats.base import SYSTEM, RowFormat, is_null
from engine.data.formats.labels import NAMES as LABELS
from engine.data.formats.media import FILES, is_file, refuse_media
from engine.data.readers.table import Columns
from engine.data.types import MEDIA, LabelledAnswer, Preference, Row, Sample

_BESIDE_INSTRUCTION = frozenset(("input", "history"))
"""Columns that every format reads beside an `instruction`."""


def read(columns: Columns, where: str, form: RowFormat) -> Sample:
    """What a row of a format holds, with the columns that the format does not use. Raises `RowError`."""
    more = () if form.uses is None else columns.keys() - form.known
    if not more and form.unread.isdisjoint(columns):
        return form.read(columns, where)
    refuse_media(columns)
    beside = (columns.keys() & form.unread) - MEDIA - set(form.found(columns))
    if "instruction" in columns and form.reads("instruction"):
        beside -= _BESIDE_INSTRUCTION
    unused = tuple(_unused(name, form) for name in sorted(beside) if not is_null(columns[name]))
    unused += tuple(
        f"`{name}`, which holds {FILES} and is not used" for name in sorted(more) if is_file(columns[name])
    )
    sample = form.read(columns, where)
    return _with(sample, unused) if unused else sample


def _unused(name: str, form: RowFormat) -> str:
    if name in SYSTEM and "system" in (form.uses or ()):
        return f"`{name}`, which is not used: --set 'data.columns={{system: {name}}}' puts it in front"
    if name == "context" and form.name == "alpaca":
        return "`context`, which is not used: --set 'data.columns={input: context}' puts it behind the instruction"
    if name in LABELS and form.name in ("chat", "sharegpt", "alpaca", "prompt_completion"):
        return f"`{name}`, which is not used: data.format: kto reads it as good (true) or bad (false)"
    return f"`{name}`, which {form.name} does not use"


def _with(sample: Sample, unused: tuple[str, ...]) -> Sample:
    """A sample whose trained row says that more is not used."""

    def more(row: Row) -> Row:
        return replace(row, unused=(*row.unused, *unused))

    match sample:
        case LabelledAnswer():
            return replace(sample, row=more(sample.row))
        case Preference():
            return replace(sample, chosen=more(sample.chosen))
        case _:
            return more(sample)
