"""ft's row formats and those of other packages by name, and reading a row of one of them."""

from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType

from engine import plugins
from engine.data.formats import (
    alpaca,
    chat,
    completion,
    extra_columns,
    kto,
    preference,
    prompt_completion,
    sharegpt,
)
from engine.data.formats.base import COLUMNS, RowError, RowFormat, listed
from engine.data.jsonl import MARK
from engine.data.readers.table import Columns
from engine.data.types import Sample

_OWN = (preference, kto, chat, sharegpt, alpaca, prompt_completion, completion)
FORMATS: Mapping[str, RowFormat] = MappingProxyType({each.FORMAT.name: each.FORMAT for each in _OWN})
"""ft's formats, in the order of detection: a row with `messages` and a rendered `text` is chat."""


@cache
def format_named(name: str) -> RowFormat:
    """The format that a recipe names: ft's, or another package's. Raises MachineError where that does not load."""
    if name in FORMATS:
        return FORMATS[name]
    return plugins.load_as(plugins.FORMATS, name, RowFormat)


def fitting(columns: Columns, without: Collection[str] = ()) -> RowFormat | None:
    """The format of a row by its columns: ft's first, then those of other packages. Raises MachineError.

    `without` are formats that other rows of the source contradict.
    """
    own = next((each for each in FORMATS.values() if each.name not in without and each.fits(columns)), None)
    if own is not None or not plugins.installed(plugins.FORMATS):
        return own
    others = map(format_named, plugins.installed(plugins.FORMATS))
    return next((each for each in others if each.needs and each.fits(columns)), None)


def read_sample(columns: Columns, where: str, row_format: RowFormat) -> Sample:
    """Read a row whole: both answers of a comparison, a label whatever it says.

    Raises `RowError` for a row of another format, and one that cannot be read.
    """
    if not row_format.has_columns(columns):
        raise RowError(_wrong_columns(columns, row_format), COLUMNS)
    sample = extra_columns.read(columns, where, row_format)
    mark = columns.get(MARK)
    return sample.marked(mark) if isinstance(mark, dict) and "kind" in mark else sample


def _wrong_columns(columns: Columns, row_format: RowFormat) -> str:
    actual = next((other for other in FORMATS.values() if other.fits(columns)), None)
    also = f" (this row is {actual.name})" if actual else ""
    missing = {names: len(set(names) - columns.keys()) for names in (row_format.needs, *row_format.others)}
    nearest = [names for names, count in missing.items() if count == min(missing.values())]
    sets = " or ".join(map(listed, nearest))
    return f"columns {listed(columns)}, but {row_format.name} needs {sets}{also}"
