"""One model on the Models screen: its facts, and the memory that training it takes, part by part."""

from collections.abc import Mapping
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from engine.models.catalogue import Entry
from engine.planning.feasibility import Fit, warnings_of
from engine.planning.trainability import Model
from engine.planning.ways import METHODS, TYPICAL_TOKENS
from screens.format import count, place, short_count, size

SIGNS = {"yes": "✓", "tight": "~", "no": "✗"}
VARIABLES = {"yes": "success", "tight": "warning", "no": "error"}
"""The theme's colour of each answer."""
STATES = {
    "ready": "ready",
    "packaged": "installed; p makes it ready",
    "absent": "not downloaded; p downloads it",
    "incomplete": "download incomplete; p resumes",
}
PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "overhead")
BAR = 6
"""Columns of the longest bar."""

Colours = Mapping[str, str]
"""A theme's colours by name: `App.theme_variables`."""


def fit_text(fit: Fit | None, colours: Colours) -> Text:
    """`✓ yes`, `~ tight`, `✗ no`: a sign, a word and a colour, each of which would do."""
    if fit is None:
        return Text("–", "dim")
    return Text(f"{SIGNS[fit.fits]} {fit.fits}", colours[VARIABLES[fit.fits]])


def state_of(entry: Entry) -> str:
    """The model's state, and what to do where it cannot be used."""
    if entry.state == "incomplete" and entry.source == "folder":
        return "incomplete: files are missing or damaged"
    return STATES[entry.state]


def facts(model: Model) -> Table:
    """Two columns: what, and how it is with this model."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for label, value in _rows(model):
        if value is not None:
            table.add_row(label, value)
    return table


def _rows(model: Model) -> list[tuple[str, str | None]]:
    entry, card = model.entry, model.card
    rows: list[tuple[str, str | None]] = [("state", state_of(entry))]
    if model.problem is not None:
        rows += [("problem", f"{model.problem.message} {model.problem.hint}".strip())]
    if card is not None:
        shape = card.shape
        tied = ", tied embeddings" if shape.tied else ""
        rows += [
            ("licence", card.licence or "not stated in its folder"),
            ("template", card.template or "none: chat needs model.chat_template"),
            ("parameters", f"{count(shape.parameters)} in {card.held}"),
            ("layers", f"{shape.layers}, hidden size {count(shape.hidden)}"),
            ("attention", f"{shape.heads} heads of {shape.head_dim}, {shape.kv_heads} KV heads"),
            ("vocabulary", f"{count(shape.vocab)}{tied}"),
            ("context", f"{count(shape.context)} tokens" if shape.context else None),
            ("linear layers", ", ".join(dict.fromkeys(linear.name for linear in shape.linears))),
            ("warning", " ".join(map(str, warnings_of(model.fits))) or None),
        ]
    rows += [
        ("revision", entry.revision),
        ("folder", None if entry.folder is None else place(entry.folder)),
    ]
    return rows


def memory(model: Model, colours: Colours) -> Table | Text:
    """Peak memory of the three ways to train, part by part; bars share one scale."""
    if not model.fits:
        return Text("Known once the model is downloaded.", "dim")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    for _ in model.fits:
        table.add_column(no_wrap=True)
    table.add_row("", *(Text(fit.method, "bold") for fit in model.fits))
    table.add_row("fits", *(fit_text(fit, colours) for fit in model.fits))
    limit = next((fit.plan.limit_bytes for fit in model.fits if fit.plan), None)
    table.add_row(
        f"peak of {size(limit)}",
        *(Text(size(fit.plan.memory.peak_bytes) if fit.plan else "–", "bold") for fit in model.fits),
    )
    plans = [asdict(fit.plan.memory) if fit.plan else {} for fit in model.fits]
    longest = max((part for plan in plans for part in plan.values()), default=1) or 1
    for part in PARTS:
        label = "libraries" if part == "overhead" else part
        table.add_row(label, *(_bar(plan.get(part), longest, colours) for plan in plans))
    for label, values in (
        ("micro-batch", [_rows_at_once(fit) for fit in model.fits]),
        ("checkpointing", [_recomputing(fit) for fit in model.fits]),
    ):
        table.add_row(label, *values)
    for fit in model.fits:
        if fit.reason:
            table.add_row(fit.method, fit.reason)
    return table


def load_text() -> str:
    """Title of the memory table: the row length that it is for."""
    return f"memory · rows of {TYPICAL_TOKENS} tokens"


def _bar(part: int | None, longest: int, colours: Colours) -> Text:
    if not part:
        return Text("–", "dim")
    halves = round(part / longest * BAR * 2)
    line = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble(f"{size(part):<7} ", (f"{line:<{BAR}}", colours["primary"]))


def _rows_at_once(fit: Fit) -> str:
    return "–" if fit.plan is None else str(max(1, fit.plan.micro_batch_tokens // TYPICAL_TOKENS))


def _recomputing(fit: Fit) -> str:
    return "–" if fit.plan is None else fit.plan.decisions.checkpointing


def cells(model: Model, narrow: bool, room: int, colours: Colours) -> list[str | Text]:
    """One row of the list, the name in `room` columns; where it is narrow, the architecture is left to the details."""
    entry, card = model.entry, model.card
    name = entry.name if len(entry.name) <= room else f"…{entry.name[-room + 1 :]}"
    fits = {fit.method: fit for fit in model.fits}
    row: list[str | Text] = [
        Text(name, "bold" if entry.state == "ready" else "dim"),
        f"{short_count(card.shape.parameters) if card else '–':>6}",
        card.shape.architecture if card else "–",
        card.held if card else "–",
        f"{size(entry.bytes) if entry.bytes else '–':>7}",
        *(fit_text(fits.get(method), colours) for method in METHODS),
    ]
    if narrow:
        del row[2]
    return row


COLUMNS = ("name", "params", "architecture", "weights", "on disk", *METHODS)
"""The list's columns; `cells` gives their values."""
