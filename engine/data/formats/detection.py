"""Which form the rows of a source have: what speaks for it, how sure that is, and which rows disagree."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from engine.data.formats.base import RowError, RowFormat, listed
from engine.data.formats.choice import FormatChoice
from engine.data.formats.column_mapping import Custom
from engine.data.formats.column_names import as_yaml
from engine.data.formats.registry import FORMS, fitting, form_named
from engine.data.formats.unknown_columns import unknown_columns
from engine.data.readers.table import Origin
from engine.data.types import LabelledAnswer, Preference, Text
from engine.errors import DataError

LOOKED_AT = 1000
"""Rows that detection looks at; every later row is still held to the form that was found."""
SURE = 0.9
"""The share of the rows that has to have one form. The others are then mistakes, told by their places."""
NAMED = 5
"""Rows that disagree and are named."""


@dataclass(frozen=True)
class Detected:
    """The form of a source's rows, and the evidence in words.

    `certainty` is the share of the rows looked at that have it; `odd` are the places of the others.
    """

    form: RowFormat
    evidence: str
    certainty: float = 1.0
    odd: tuple[str, ...] = ()


def detect(rows: Iterable[Origin], choice: FormatChoice, name: str) -> Detected:
    """Find the format of the first `LOOKED_AT` rows; one that the recipe names is taken at its word.

    There is at least one row. Raises `DataError` where rows have different formats, or none that is known, and
    where they have none of the columns that the recipe names.
    """
    looked = list(islice(rows, LOOKED_AT))
    custom = Custom(choice)
    if not choice.as_it_is:
        custom.check((columns for _, columns in looked), name)
        looked = _made(looked, custom)
    if choice.format == "auto":
        found = _detected(looked, name)
    else:
        form = form_named(choice.format)
        found = Detected(form, f"{name}: {_with_note(f'{form.name}, as the recipe says', form)}")
    plain = _without_template(found.form, looked, choice)
    if choice.as_it_is:
        return replace(found, evidence=found.evidence + plain)
    return replace(found, form=custom.form(found.form), evidence=f"{found.evidence}; {custom.words}{plain}")


def _made(looked: Sequence[Origin], custom: Custom) -> list[Origin]:
    """The rows that can be made; a row that cannot is told when its turn comes. Raises `DataError` if none can."""
    made: list[Origin] = []
    problem = ""
    for where, columns in looked:
        try:
            made.append((where, custom(columns)))
        except RowError as error:
            problem = problem or f"{where}: {error}"
    if not made:
        raise DataError(problem, "Correct data.template, or the rows.")
    return made


def _detected(looked: Sequence[Origin], name: str) -> Detected:
    against = [form.name for form in FORMS.values() if _spoken_against(form, looked)]
    forms = [fitting(columns, against) for _, columns in looked]
    counts = Counter(form.name for form in forms if form is not None)
    best = max(counts, key=lambda name: counts[name], default=None)
    share = counts[best] / len(looked) if best else 0.0
    if best is None or share < SURE:
        raise _undecided(looked, forms, name)
    form = form_named(best)
    odd = tuple(where for (where, _), other in zip(looked, forms, strict=True) if other is not form)
    has = listed(next(form.found(columns) for _, columns in looked if form.fits(columns)))
    if not odd:
        said = f"because its rows have {has}{_how_many(len(looked))}"
    else:
        places = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if len(odd) > NAMED else "")
        verb = "differs" if len(odd) == 1 else "differ"
        said = f"because {counts[best]:,} of {len(looked):,} rows have {has}; {len(odd)} {verb}: {places}"
    also = _also(looked, form)
    return Detected(form, f"{name}: {_with_note(f'{best}, {said}{also}', form)}", share, odd)


def _spoken_against(form: RowFormat, looked: Sequence[Origin]) -> bool:
    """Whether the values under a format's columns say that it is another: labels that are numbers of classes."""
    votes = [vote for _, columns in looked if form.has_columns(columns) for vote in (form.is_told(columns),)]
    against = sum(vote is False for vote in votes)
    return against > (1 - SURE) * (against + sum(vote is True for vote in votes))


def _how_many(count: int) -> str:
    return f" (the first {count:,} do)" if count == LOOKED_AT else ""


def _with_note(said: str, form: RowFormat) -> str:
    return f"{said}; {form.note}" if form.note else said


def _without_template(form: RowFormat, looked: Sequence[Origin], choice: FormatChoice) -> str:
    """What to know of a question and an answer that are text: a model that chats expects its chat template."""
    like = next((columns for _, columns in looked if form.has_columns(columns)), None)
    if like is None or form.name not in ("prompt_completion", "kto", "preference"):
        return ""
    try:
        sample = form.read(like, "")
    except RowError:
        return ""  # reported when its turn comes
    row = sample.row if isinstance(sample, LabelledAnswer) else sample
    row = row.chosen if isinstance(row, Preference) else row
    if not isinstance(row, Text):
        return ""
    ours = {"instruction": "prompt", "output": "completion"}
    named = {new: (choice.columns or {}).get(old, old) for new, old in ours.items() if old in like}
    way = f" (data.columns={as_yaml(named)} would apply it)" if named and not choice.template else ""
    return f"; no chat template is applied to text{way}"


def _also(looked: Sequence[Origin], form: RowFormat) -> str:
    """Another form that all rows have too: whoever meant that one can say so."""
    others = [
        other for other in FORMS.values() if other is not form and not set(other.needs) <= set(form.needs)
    ]
    other = next((o for o in others if all(o.fits(columns) for _, columns in looked)), None)
    return f"; data.format: {other.name} would take {listed(other.needs)} instead" if other else ""


def _undecided(looked: Sequence[Origin], forms: Sequence[RowFormat | None], name: str) -> DataError:
    first: dict[str, str] = {}
    unknown: Origin | None = None
    for (where, columns), form in zip(looked, forms, strict=True):
        if form is None:
            unknown = unknown or (where, columns)
        else:
            first.setdefault(form.name, where)
    if len(first) > 1:
        places = ", ".join(f"{form} (first at {where})" for form, where in first.items())
        return DataError(
            f"{name}: rows of different formats: {places}",
            "Split the file by format and list the files under data.train, or name one format: "
            f"--set data.format={next(iter(first))}",
        )
    assert unknown is not None  # there is a row, and it has no format
    return unknown_columns(*unknown, next(iter(first), None))
