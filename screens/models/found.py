"""A model that a search of the hub has found: its row in the list, and more about it below."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from engine.models import hub
from engine.models.names import KNOWN
from engine.models.search import Found
from engine.planning.feasibility import Fit
from engine.planning.ways import METHODS
from screens.format import MISSING, short_count, size
from screens.models.details import SIGNS, Colours, fit_text

WAITING = "…"
COLUMNS = ("name", "params", "architecture", "licence", "downloads", "changed", *METHODS, "")
"""The list's columns, the last of them for marks."""
LEFT_OUT = ("changed", "downloads", "licence", "architecture")
"""Columns that are left out one after the other where it is narrow; they stand below the list too."""
WIDTHS = {"params": 6, "architecture": 12, "licence": 10, "downloads": 9, "changed": 10, "": 9}
WIDTHS |= dict.fromkeys(METHODS, 7)
"""Characters of each column but for the name, which has the rest: at least SHORTEST_NAME as long as others can go."""
NUMBERS = ("params", "downloads")
SHORTEST_NAME, LONGEST_NAME, BORDERS = 28, 64, 4
"""BORDERS: columns for the list's borders and its scroll bar."""
SHORT_NAMES = {one.hub_id: one.name for one in KNOWN.values()}
UNKNOWN = (
    "What fits is not known: its config may not be read, or is of an architecture that nobody here knows."
)
Fits = tuple[Fit, ...] | None
"""Fits of one model; None where its shape cannot be told."""


@dataclass(frozen=True)
class Places:
    """Where models are: on this machine, and on their way to it."""

    here: frozenset[str] = frozenset()
    coming: str | None = None


def merged(known: Sequence[Found], found: Sequence[Found]) -> list[Found]:
    """Models with a short name first, then what else the hub has found; of each, what the hub says of it."""
    by_name = {one.name: one for one in found}
    first = [by_name.get(one.name, one) for one in known]
    names = {one.name for one in first}
    return [*first, *(one for one in found if one.name not in names)]


def suits(fits: Mapping[str, Fits], name: str, method: str | None) -> bool:
    """True unless it is known that a model cannot be trained that way here."""
    if method is None or name not in fits:
        return True
    return any(fit.method == method and fit.fits in ("yes", "tight") for fit in fits[name] or ())


def columns_for(width: int) -> tuple[list[str], int]:
    """The columns for a list of that width, and the characters of a name. One character lies between columns."""
    columns = list(COLUMNS)
    for column in ("", *LEFT_OUT):
        if column:
            columns.remove(column)
        room = width - BORDERS - sum(WIDTHS.get(one, 0) + 1 for one in columns)
        if room >= SHORTEST_NAME:
            break
    return columns, max(1, min(room, LONGEST_NAME))


def titled(column: str) -> str:
    """Title of a column, over its values."""
    return f"{column:>{WIDTHS[column]}}" if column in NUMBERS else column


def cells(
    model: Found,
    fits: Mapping[str, Fits],
    places: Places,
    columns: Collection[str],
    room: int,
    colours: Colours,
) -> list[Text]:
    """One row of the list, the name in `room` columns."""
    values = {
        "name": _name(model, room),
        "params": Text(f"{short_count(model.parameters) if model.parameters else '?':>6}"),
        "architecture": Text(_cut(model.architecture or "?", WIDTHS["architecture"])),
        "licence": Text(_cut(model.licence or ("?" if model.changed else MISSING), WIDTHS["licence"])),
        "downloads": Text(f"{short_count(model.downloads) if model.changed else MISSING:>9}"),
        "changed": Text(model.changed or MISSING),
        "": _mark(model, places),
    } | fit_cells(model.name, fits, colours)
    return [values[column] for column in columns]


def fit_cells(name: str, fits: Mapping[str, Fits], colours: Colours) -> dict[str, Text]:
    """What fits, by method: open until the model's config has arrived."""
    if name not in fits:
        return {method: Text(WAITING, "dim") for method in METHODS}
    known = {fit.method: fit for fit in fits[name] or ()}
    return {method: fit_text(known[method], colours) if method in known else Text("?") for method in METHODS}


def about(model: Found, fits: Mapping[str, Fits], places: Places) -> Text:
    """All that is known of a model, in a few lines."""
    text = Text(model.name, "bold")
    if short := SHORT_NAMES.get(model.name):
        text.append(f"  short name {short}", "not bold dim")
    marks = ["here already"] if model.name in places.here else []
    marks += ["quantised"] if model.quantised else []
    text.append("".join(f"  {mark}" for mark in marks), "not bold dim")
    facts = [f"{short_count(model.parameters)} parameters" if model.parameters else None, model.architecture]
    facts += [model.licence]
    if model.changed:
        likes = f"{short_count(model.likes)} like{'s' if model.likes != 1 else ''}"
        facts += [f"{short_count(model.downloads)} downloads", likes]
        facts += [f"changed {model.changed}"]
    text.append("\n" + " · ".join(fact for fact in facts if fact), "not bold")
    text.append(
        f"\n{_peaks(fits[model.name]) if model.name in fits else 'Its config is on the way …'}", "not bold"
    )
    if model.gated and model.name not in places.here:
        text.append(f"\n{hub.gated(model.name).hint}", "not bold italic")
    return text


def _peaks(fits: Fits) -> str:
    """Peak memory of each way to train, or why it is impossible."""
    if fits is None:
        return UNKNOWN
    told = [
        f"{fit.method} {SIGNS[fit.fits]} {size(fit.plan.memory.peak_bytes) if fit.plan else fit.fits}"
        for fit in fits
    ]
    limit = next((f", of {size(fit.plan.limit_bytes)}" for fit in fits if fit.plan), "")
    return f"{' · '.join(told)}{limit}"


def _name(model: Found, room: int) -> Text:
    short = SHORT_NAMES.get(model.name)
    if short is None:
        return Text(_cut(model.name, room))
    return Text.assemble((short, "bold"), (_cut(f" → {model.name}", max(1, room - len(short))), "dim"))


def _mark(model: Found, places: Places) -> Text:
    """The word that matters most before one chooses a model."""
    if model.name == places.coming:
        return Text("⇣ coming", "bold")
    if model.name in places.here:
        return Text("● here", "bold")
    return Text("gated" if model.gated else "quantised" if model.quantised else "", "dim")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
