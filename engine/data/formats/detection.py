"""Detection of a source's row format: the evidence for it, its certainty, and rows that disagree."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from engine.data.formats.base import RowError, RowFormat, listed
from engine.data.formats.choice import FormatChoice
from engine.data.formats.column_mapping import ColumnMapping
from engine.data.formats.column_names import as_yaml
from engine.data.formats.registry import FORMATS, fitting, format_named
from engine.data.formats.unknown_columns import unknown_columns
from engine.data.readers.table import Origin
from engine.data.types import LabelledAnswer, Preference, Text
from engine.errors import DataError

SAMPLE_ROWS = 1000
"""Rows that detection reads. Later rows must have the format that was found, too."""
SURE = 0.9
"""Share of the rows that must agree on a format. The others count as mistakes, and their places are reported."""
NAMED = 5
"""Most rows that are named because they disagree."""


@dataclass(frozen=True)
class Detected:
    """Format of a source's rows, with the evidence as a sentence.

    `certainty` is the share of the sampled rows that have it; `odd` are the places of the others.
    """

    row_format: RowFormat
    evidence: str
    certainty: float = 1.0
    odd: tuple[str, ...] = ()


def detect(rows: Iterable[Origin], choice: FormatChoice, name: str) -> Detected:
    """Detect the format of the first `SAMPLE_ROWS` rows, of which there is at least one; a recipe may name it instead.

    Raises `DataError` where rows have different formats, or none that is known, and where they have none of the
    columns that the recipe names.
    """
    sampled = list(islice(rows, SAMPLE_ROWS))
    mapping = ColumnMapping(choice)
    if not choice.as_it_is:
        mapping.check((columns for _, columns in sampled), name)
        sampled = _mapped(sampled, mapping)
    if choice.format == "auto":
        found = _detected(sampled, name)
    else:
        row_format = format_named(choice.format)
        found = Detected(
            row_format, f"{name}: {_with_note(f'{row_format.name}, as the recipe says', row_format)}"
        )
    plain = _without_template(found.row_format, sampled, choice)
    if choice.as_it_is:
        return replace(found, evidence=found.evidence + plain)
    evidence = f"{found.evidence}; {mapping.summary}{plain}"
    return replace(found, row_format=mapping.apply_to(found.row_format), evidence=evidence)


def _mapped(sampled: Sequence[Origin], mapping: ColumnMapping) -> list[Origin]:
    """The rows that can be mapped; others are reported when they are converted. Raises `DataError` if none can."""
    made: list[Origin] = []
    problem = ""
    for where, columns in sampled:
        try:
            made.append((where, mapping(columns)))
        except RowError as error:
            problem = problem or f"{where}: {error}"
    if not made:
        raise DataError(problem, "Fix data.template, or the rows.")
    return made


def _detected(sampled: Sequence[Origin], name: str) -> Detected:
    against = [each.name for each in FORMATS.values() if _is_contradicted(each, sampled)]
    formats = [fitting(columns, against) for _, columns in sampled]
    counts = Counter(each.name for each in formats if each is not None)
    best = max(counts, key=lambda name: counts[name], default=None)
    share = counts[best] / len(sampled) if best else 0.0
    if best is None or share < SURE:
        raise _undecided(sampled, formats, name)
    row_format = format_named(best)
    odd = tuple(where for (where, _), other in zip(sampled, formats, strict=True) if other is not row_format)
    has = listed(next(row_format.columns_in(columns) for _, columns in sampled if row_format.fits(columns)))
    if not odd:
        said = f"because its rows have {has}{_how_many(len(sampled))}"
    else:
        places = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if len(odd) > NAMED else "")
        verb = "differs" if len(odd) == 1 else "differ"
        said = f"because {counts[best]:,} of {len(sampled):,} rows have {has}; {len(odd)} {verb}: {places}"
    also = _also(sampled, row_format)
    return Detected(row_format, f"{name}: {_with_note(f'{best}, {said}{also}', row_format)}", share, odd)


def _is_contradicted(row_format: RowFormat, sampled: Sequence[Origin]) -> bool:
    """Return True if the values under a format's columns say that it is another, as labels that number classes do."""
    votes = [row_format.recognise(columns) for _, columns in sampled if row_format.has_columns(columns)]
    against = sum(vote is False for vote in votes)
    return against > (1 - SURE) * (against + sum(vote is True for vote in votes))


def _how_many(count: int) -> str:
    return f" (the first {count:,} do)" if count == SAMPLE_ROWS else ""


def _with_note(said: str, row_format: RowFormat) -> str:
    return f"{said}; {row_format.note}" if row_format.note else said


def _without_template(row_format: RowFormat, sampled: Sequence[Origin], choice: FormatChoice) -> str:
    """Note about a prompt and an answer that are plain text: a chat model expects its chat template."""
    like = next((columns for _, columns in sampled if row_format.has_columns(columns)), None)
    if like is None or row_format.name not in ("prompt_completion", "kto", "preference"):
        return ""
    try:
        sample = row_format.read(like, "")
    except RowError:
        return ""  # reported when the row is converted
    row = sample.row if isinstance(sample, LabelledAnswer) else sample
    row = row.chosen if isinstance(row, Preference) else row
    if not isinstance(row, Text):
        return ""
    ours = {"instruction": "prompt", "output": "completion"}
    named = {new: (choice.columns or {}).get(old, old) for new, old in ours.items() if old in like}
    way = f" (data.columns={as_yaml(named)} would apply it)" if named and not choice.template else ""
    return f"; no chat template is applied to text{way}"


def _also(sampled: Sequence[Origin], row_format: RowFormat) -> str:
    """Note about another format that fits all rows, for those who meant that one."""
    others = [
        other
        for other in FORMATS.values()
        if other is not row_format and not set(other.needs) <= set(row_format.needs)
    ]
    other = next((o for o in others if all(o.fits(columns) for _, columns in sampled)), None)
    return f"; data.format: {other.name} would take {listed(other.needs)} instead" if other else ""


def _undecided(sampled: Sequence[Origin], formats: Sequence[RowFormat | None], name: str) -> DataError:
    first: dict[str, str] = {}
    unknown: Origin | None = None
    for (where, columns), row_format in zip(sampled, formats, strict=True):
        if row_format is None:
            unknown = unknown or (where, columns)
        else:
            first.setdefault(row_format.name, where)
    if len(first) > 1:
        places = ", ".join(f"{row_format} (first at {where})" for row_format, where in first.items())
        return DataError(
            f"{name}: rows of different formats: {places}",
            f"Make a file of each format, or name one format: --set data.format={next(iter(first))}",
        )
    assert unknown is not None  # there is a row, and it has no format
    return unknown_columns(*unknown, next(iter(first), None))
