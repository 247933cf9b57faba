"""ModelCard of trained weights, made from what their run's folder and their own folder record."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FtError
from engine.models import adapter_files, starter
from engine.models.local import TEMPLATE, read_object
from engine.models.published import PublishedBase
from engine.publishing import loss_picture
from engine.publishing.model_card import (
    ADAPTER,
    MODEL,
    AdapterFacts,
    Base,
    DataFacts,
    ExportFacts,
    ModelCard,
    TrainingFacts,
)
from engine.publishing.public_recipe import hub_datasets, public_recipe, source_names
from engine.publishing.scores import scores_of
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.planning.plan import Plan

BASE = "base"
"""Key of a run's provenance under which its base is named as others know it."""
VERSIONS = (
    "ft-studio",
    "torch",
    "transformers",
    "peft",
    "mlx",
    "mlx-lm",
    "unsloth",
    "bitsandbytes",
    "tokenizers",
)
QUANTIZED = {"8bit": "8-bit base, ", "4bit": "4-bit base, "}


def model_card(
    model: TrainedModel,
    exporter: str | None = None,
    export: ExportFacts | None = None,
    folder: Path | None = None,
    location: str = "",
) -> ModelCard:
    """All that is recorded of a model. `exporter` is None for a run's own result.

    `folder` has the files that the card lies beside, `location` is the hub id that they are to get.
    """
    run = Run(model.run) if model.run else None
    config = recipe_of(run) if run else None
    base = _base(model, run)
    title = location.rpartition("/")[2] or (config.name if config else (folder or Path(base.name)).name)
    card = ModelCard(
        title=title,
        format=exporter or (ADAPTER if model.adapter else MODEL),
        base=base,
        location=location,
        adapter=_adapter(model, config),
        export=export,
        files=tuple(sorted(path.name for path in folder.iterdir())) if folder else (),
        has_template=_has_template(folder or model.adapter or model.base, model),
    )
    return _with_run(card, run, config, model) if run is not None and config is not None else card


def recipe_of(run: Run) -> "TrainConfig | None":
    """The run's recipe; None where it is gone or damaged: a card says what is known."""
    try:
        return run.config
    except FtError:
        return None


def _with_run(card: ModelCard, run: Run, config: "TrainConfig", model: TrainedModel) -> ModelCard:
    facts = run.provenance
    versions = {"python": facts.get("python")} | _mapping(facts.get("versions"))
    return replace(
        card,
        training=_training(config, run.plan, model.step),
        data=_data(config, run.plan, _mapping(facts.get("data"))),
        recipe=public_recipe(config, card.base.name),
        scores=scores_of(run, model.step),
        picture=loss_picture.NAME if run.state().step else "",
        versions={name: str(versions[name]) for name in (*VERSIONS, "python") if versions.get(name)},
    )


def _training(config: "TrainConfig", plan: "Plan | None", step: int | None) -> TrainingFacts | None:
    if plan is None:
        return None
    made = plan.decisions
    held = QUANTIZED.get(config.model.quantization, "")
    return TrainingFacts(
        method=config.training.method,
        step=step,
        steps=plan.steps,
        epochs=round(plan.work.epochs, 3),
        batch=config.training.effective_batch_size,
        learning_rate=config.training.learning_rate,
        precision=f"{held}{made.weights_dtype} weights, {made.compute_dtype} arithmetic",
        place=f"{made.backend} on {made.device}",
    )


def _data(config: "TrainConfig", plan: "Plan | None", facts: Mapping[str, Any]) -> DataFacts:
    work = plan.work if plan and not plan.work.sampled else None
    fingerprint = facts.get("fingerprint")
    return DataFacts(
        sources=source_names(config),
        hub_datasets=hub_datasets(config),
        examples=plan.work.examples if plan else None,
        trained_tokens=work.trained_tokens_per_epoch if work else None,
        tokens=work.tokens_per_epoch if work else None,
        fingerprint=str(fingerprint) if fingerprint else None,
    )


def _adapter(model: TrainedModel, config: "TrainConfig | None") -> AdapterFacts | None:
    """Facts of the adapter; None where every weight was trained. Raises ModelError where its settings are broken."""
    if config is not None:
        adapter = config.adapter
        if adapter.type == "none":
            return None
        rank = adapter.rank if adapter.low_rank else None
        return AdapterFacts(
            adapter.type, rank, tuple(adapter.modules_to_save), tuple(config.model.add_tokens)
        )
    if model.adapter is None:
        return None
    settings = adapter_files.read_settings(model.adapter)
    kind = "dora" if settings.get("use_dora") else str(settings.get("peft_type", "lora")).lower()
    rank = settings.get("r")
    whole = tuple(map(str, settings.get("modules_to_save") or ()))
    return AdapterFacts(kind, rank if isinstance(rank, int) else None, whole)


def _base(model: TrainedModel, run: Run | None) -> Base:
    """The base by its published name: as its run recorded it, else as it lies on this disk."""
    recorded = _mapping(run.provenance.get(BASE)) if run else {}
    if isinstance(name := recorded.get("name"), str):
        return Base(name, recorded.get("revision"), recorded.get("licence"))
    trained = TrainedModel.before(run) if run and recipe_of(run) else model
    return base_on_disk(
        str(trained.base), trained.revision, Path(str(run.provenance.get("folder", "/"))) if run else None
    )


def base_on_disk(base: str, revision: str | None, start: Path | None) -> Base:
    """A base that no run has recorded, by its published name; its licence where its files are here."""
    from engine.models.card import card_of
    from engine.models.resolve import LocalModel, is_hub_id, on_disk

    known = Base(
        starter.PUBLISHED_AS if base == starter.NAME else base if is_hub_id(base) else f"./{Path(base).name}",
        revision,
    )
    try:
        folder = on_disk(base, revision)
        commit = folder.name if is_hub_id(base) else None
        named = PublishedBase.of(LocalModel(folder, base, "", commit), start or folder.parent)
        return Base(named.name, named.revision, card_of(folder).licence)
    except FtError:
        return known


def _has_template(place: Any, model: TrainedModel) -> bool:
    """Return True if a folder brings a chat template, in a file of its own or in the tokenizer's settings."""
    if not isinstance(place, Path):
        return True
    settings = place / "tokenizer_config.json"
    if (place / TEMPLATE).is_file() or not settings.is_file():
        return True
    try:
        return "chat_template" in read_object(settings)
    except FtError:
        return False


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
