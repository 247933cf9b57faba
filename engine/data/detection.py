"""Which form the rows of a source have: what speaks for it, how sure that is, and which rows disagree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from engine.data.choice import FormChoice
from engine.data.custom import Custom
from engine.data.form import Form, RowError, listed
from engine.data.formats import FORMS, fitting, form_named
from engine.data.rows import Columns, Origin
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

    form: Form
    evidence: str
    certainty: float = 1.0
    odd: tuple[str, ...] = ()


def detect(rows: Iterable[Origin], choice: FormChoice, name: str) -> Detected:
    """Find the form of the first `LOOKED_AT` rows; a form that the recipe names is taken at its word.

    There is at least one row. Raises `DataError` where rows have different forms, or none that is known, and
    where they have none of the columns that the recipe names.
    """
    looked = list(islice(rows, LOOKED_AT)) if choice.format == "auto" or not choice.as_it_is else []
    custom = Custom(choice)
    if not choice.as_it_is:
        custom.check((columns for _, columns in looked), name)
        looked = _made(looked, custom)
    if choice.format == "auto":
        found = _detected(looked, name)
    else:
        form = form_named(choice.format)
        found = Detected(form, f"{name}: {_with_note(f'{form.name}, as the recipe says', form)}")
    if choice.as_it_is:
        return found
    return replace(found, form=custom.form(found.form), evidence=f"{found.evidence}; {custom.words}")


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
        raise DataError(problem, "Mend data.template, or the rows.")
    return made


def _detected(looked: Sequence[Origin], name: str) -> Detected:
    forms = [fitting(columns) for _, columns in looked]
    counts: dict[str, int] = {}
    for form in forms:
        if form is not None:
            counts[form.name] = counts.get(form.name, 0) + 1
    best = max(counts, key=lambda name: counts[name], default=None)
    share = counts[best] / len(looked) if best else 0.0
    if best is None or share < SURE:
        raise _undecided(looked, forms, name)
    form = form_named(best)
    odd = tuple(where for (where, _), other in zip(looked, forms, strict=True) if other is not form)
    if not odd:
        said = f"because its rows have {listed(form.needs)}{_how_many(len(looked))}"
    else:
        places = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if len(odd) > NAMED else "")
        verb = "differs" if len(odd) == 1 else "differ"
        said = (
            f"because {counts[best]:,} of {len(looked):,} rows have {listed(form.needs)}; "
            f"{len(odd)} {verb}: {places}"
        )
    also = _also(looked, form)
    return Detected(form, f"{name}: {_with_note(f'{best}, {said}{also}', form)}", share, odd)


def _how_many(count: int) -> str:
    return f" (the first {count:,} do)" if count == LOOKED_AT else ""


def _with_note(said: str, form: Form) -> str:
    return f"{said}; {form.note}" if form.note else said


def _also(looked: Sequence[Origin], form: Form) -> str:
    """Another form that all rows have too: whoever meant that one can say so."""
    others = [
        other for other in FORMS.values() if other is not form and not set(other.needs) <= set(form.needs)
    ]
    other = next((o for o in others if all(o.fits(columns) for _, columns in looked)), None)
    return f"; data.format: {other.name} would take {listed(other.needs)} instead" if other else ""


def _undecided(looked: Sequence[Origin], forms: Sequence[Form | None], name: str) -> DataError:
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
            f"{name}: rows of different forms: {places}",
            "Split the file by form and list the files under data.train, or name one form in data.format.",
        )
    assert unknown is not None  # there is a row, and it has no form
    return _unknown_columns(*unknown, next(iter(first), None))


def _unknown_columns(where: str, columns: Columns, others: str | None) -> DataError:
    needs = "; ".join(f"{form.name}: {', '.join(form.needs)}" for form in FORMS.values())
    rest = f" (other rows are {others})" if others else ""
    return DataError(
        f"{where}: columns {listed(columns)} fit no known form{rest}",
        f"{_nearest(columns)}Say in data.columns what they are called, or rename them. Each form needs: {needs}.",
    )


def _nearest(columns: Columns) -> str:
    """The form that is the fewest renamings away, where at least one column fits or nearly does."""
    folded = {name.strip().lower().rstrip("s"): name for name in columns}

    def missing(form: Form) -> list[str]:
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
