"""`ft models show`: what a model is and the memory that training it takes, before its weights are here too."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import HubError, ModelError
from engine.models import catalogue
from engine.models.catalogue import Entry
from engine.planning.ways import TYPICAL_TOKENS
from engine.units import size
from ft.console import print_json, say

if TYPE_CHECKING:
    from engine.models.card import Card
    from engine.models.hub_facts import HubModel
    from engine.planning.feasibility import Fit, Load
    from engine.planning.trainability import Model

STATES = {
    "ready": "ready",
    "packaged": "installed; converted when first used",
    "absent": "not here; ft models pull starter",
    "incomplete": "incomplete; pull it again",
}


def show(
    name: Annotated[str, typer.Argument(help="starter, a hub id, or a model's folder.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    length: Annotated[
        int,
        typer.Option(min=8, max=1_048_576, metavar="TOKENS", help="Length of the rows that memory is for."),
    ] = TYPICAL_TOKENS,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, metavar="ROWS", help="Rows in a micro-batch; otherwise as few as it takes."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model is, and the memory that training it takes here; of a hub model, no weights are fetched."""
    from engine.planning.feasibility import Load
    from engine.planning.trainability import TrainableModels

    load = Load(length, batch)
    found = _find(name, revision)
    if not isinstance(found, Entry):
        _show_hub_model(found, load, json)
        return
    if found.folder is None:
        raise _not_here(found)
    model = TrainableModels().of(found, load)
    if model.problem is not None:
        raise model.problem
    if model.card is None:
        raise _not_here(found)
    if json:
        from engine.models.resolve import fingerprint

        more = {"shape": _shape(model.card), "fingerprint": fingerprint(found.folder)}
        print_json(facts_of(found) | more_of(model) | more)
        return
    _print(
        {
            "model": found.name,
            "folder": str(found.folder),
            "revision": found.revision,
            "size": size(found.bytes or None),
            "licence": model.card.licence or "not stated in its folder",
        }
        | _of_card(model.card)
        | _on_this_machine(model.card, model.fits, load)
    )


def hub_id(name: str) -> str:
    """The hub id that a short name stands for, which is told; any other name as it is."""
    from engine.models.names import expanded

    if (full := expanded(name)) != name:
        say(f"{name} stands for {full}.")
    return full


def here(name: str) -> Entry:
    """The model on this machine with that name, or short name. Raises ModelError where there is none."""
    try:
        return catalogue.find(name)
    except ModelError:
        if (full := hub_id(name)) == name:
            raise
        return catalogue.find(full)


def _not_here(entry: Entry) -> ModelError:
    return ModelError(f"The {entry.name} is {STATES[entry.state]}.", f"Run: ft models pull {entry.name}")


def _find(name: str, revision: str | None) -> "Entry | HubModel":
    """The model on this machine, or else what the hub says of it."""
    from engine.models.hub_facts import ask
    from engine.models.names import expanded
    from engine.models.resolve import is_hub_id

    if revision is not None:
        full = hub_id(name)
        if not is_hub_id(full):
            raise ModelError(
                f"{name} is not a model of the hub, so it has no revision.", "Leave --revision out."
            )
        return catalogue.at_commit(full, revision) or ask(full, revision)
    try:
        return here(name)
    except ModelError as error:
        absent = error
    name = expanded(name)
    if not is_hub_id(name):
        raise absent
    try:
        return ask(name)
    except HubError as error:
        if not error.unreachable:
            raise
        raise ModelError(absent.message, f"{error.message} {error.hint}") from error


def _show_hub_model(model: "HubModel", load: "Load", json: bool) -> None:
    from engine.hardware.probe import probe
    from engine.planning.feasibility import fits_of

    card = model.card()
    fits = fits_of(card.shape, probe(), load)
    if json:
        about = asdict(model) | {"folder": None, "bytes": model.bytes, "state": "on the hub"}
        print_json(about | _of_fits(card, fits) | {"shape": _shape(card)})
        return
    weights = {name: bytes_ for name, bytes_ in model.files.items() if name.endswith(".safetensors")}
    _print(
        {
            "model": model.name,
            "folder": "not on this machine; fetch it with: ft models pull " + model.name,
            "revision": model.revision,
            "download": f"{size(model.bytes)} in {len(model.files)} files, {len(weights)} of them weights"
            if weights
            else "no safetensors weights, which ft needs: see docs/models.md",
            "licence": model.licence or "not stated by its card",
            "gated": "yes: its terms have to be accepted on its page" if model.gated else None,
        }
        | _of_card(card)
        | _on_this_machine(card, fits, load)
    )


def _shape(card: "Card") -> dict[str, Any]:
    return asdict(card.shape) | {"active_parameters": card.shape.active_parameters}


def _of_card(card: "Card") -> dict[str, str | None]:
    shape = card.shape
    layers = ", ".join(dict.fromkeys(linear.name for linear in (*shape.linears, *shape.experts)))
    return {
        "architecture": shape.architecture,
        "parameters": f"{shape.parameters:,} in {card.held}",
        "of a token": f"{shape.active_parameters:,}, with the experts that it goes through"
        if shape.idle_parameters
        else None,
        "layers": f"{shape.layers}, hidden size {shape.hidden}",
        "attention": f"{shape.heads} heads of {shape.head_dim}, {shape.kv_heads} for keys and values",
        "vocabulary": f"{shape.vocab:,}" + (", output tied to the embedding" if shape.tied else ""),
        "context": f"{shape.context:,} tokens" if shape.context else None,
        "template": card.template or "none",
        "linear layers": layers,
    }


def _on_this_machine(card: "Card", fits: "tuple[Fit, ...]", load: "Load") -> dict[str, str | None]:
    """Backends that can train the model on this machine, and what each method takes."""
    from engine.hardware.probe import probe
    from engine.planning.feasibility import backends_for, warnings_of

    backends = ", ".join(backends_for(card.shape, probe())) or "none on this machine"
    warnings = " ".join(map(str, warnings_of(fits))) or None
    return {"backends": backends, **{fit.method: _in_words(fit, load) for fit in fits}, "warning": warnings}


def _print(rows: dict[str, str | None]) -> None:
    width = max(map(len, rows))
    for label, value in rows.items():
        if value is not None:
            print(f"{label:<{width}}   {value}")


def facts_of(entry: Entry) -> dict[str, Any]:
    """A model's place on the disk, as JSON."""
    return asdict(entry) | {"folder": str(entry.folder) if entry.folder else None, "base": entry.base}


def more_of(model: "Model") -> dict[str, Any]:
    """Facts about a model besides its place on the disk."""
    return _of_fits(model.card, model.fits) | {"problem": model.problem and model.problem.message}


def _of_fits(card: "Card | None", fits: "tuple[Fit, ...]") -> dict[str, Any]:
    from engine.planning.feasibility import warnings_of

    return {
        "parameters": card and card.shape.parameters,
        "architecture": card and card.shape.architecture,
        "weights": card and card.held,
        "licence": card and card.licence,
        "template": card and card.template,
        "fits": {fit.method: fit.fits for fit in fits},
        "warnings": [asdict(notice) for notice in warnings_of(fits)],
        "peak_bytes": {fit.method: fit.plan.memory.peak_bytes for fit in fits if fit.plan},
    }


def _in_words(fit: "Fit", load: "Load") -> str:
    if fit.plan is None:
        return f"no: {fit.reason}"
    peak, limit = size(fit.plan.memory.peak_bytes), size(fit.plan.limit_bytes)
    batch = f", {load.batch} at a time" if load.batch else ""
    return f"{fit.fits}: {peak} of {limit} at its peak, with rows of {load.tokens} tokens{batch}"
