"""Cards of trained weights, and what lies beside them: the losses' picture, the recipe for transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.models.published import PublishedBase
from engine.publishing import loss_picture, training_arguments
from engine.publishing.facts import BASE, model_card, recipe_of
from engine.publishing.model_card import ExportFacts
from engine.publishing.render import render
from engine.runs.directory.card_mark import CARD, marked, own_card
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining


def publish_result(run: Run, published: PublishedBase, base: Path) -> None:
    """Put card, loss picture and training_args.json beside the result of a run; `base` is its base model's folder.

    A card that a person has changed stays. Raises ModelError where the base's files cannot be read, MachineError where
    the disk says no.
    """
    from engine.models.card import card_of as described

    facts = {"name": published.name, "revision": published.revision, "licence": described(base).licence}
    run.record({BASE: facts})
    model = TrainedModel.of(Run(run.folder, run.id))
    result = model.adapter or model.base
    assert isinstance(result, Path)
    write_card(result, render(model_card(model, folder=result)), run.folder)


def card_of(
    model: TrainedModel,
    exporter: str,
    facts: Mapping[str, Any],
    proof: Mapping[str, Any] | None,
    folder: Path | None = None,
) -> str:
    """The card of an exported model, for `write_card`.

    `exporter` is its name, as `gguf`; `facts` are what it says of what it wrote, `proof` the figures of the comparison
    with the trained model; None says in the card that nothing was proved. `folder` has the files, which the commands
    in the card name.
    """
    return render(model_card(model, exporter, ExportFacts(dict(facts), proof), folder))


def write_card(folder: Path, card: str, run: Path | None = None) -> None:
    """Write README.md into a folder, and of the run that trained it loss.svg and training_args.json.

    A card that a person wrote or changed stays. Each file is there whole or not at all, the card last. Raises
    MachineError where the disk says no.
    """
    with explaining(folder):
        for name, text in (run_files(run) if run else {}).items():
            write_atomic(folder / name, text)
        if own_card(folder) is None:
            write_atomic(folder / CARD, marked(card))


def run_files(folder: Path) -> dict[str, str]:
    """Files beside the card that a run's folder gives, by name: its losses as a picture, its recipe for transformers.

    Those that nothing is recorded for are left out.
    """
    run, found = Run(folder), {}
    if picture := loss_picture.loss_picture(run):
        found[loss_picture.NAME] = picture
    config, plan = recipe_of(run), run.plan
    if config is not None and plan is not None:
        found[training_arguments.NAME] = training_arguments.training_arguments(config, plan)
    return found
