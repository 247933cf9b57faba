"""Values that are each allowed and cannot work together."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig


def impossible(config: "TrainConfig") -> list[str]:
    """What cannot work in this recipe, each line as `key: why, and what to do`."""
    return [*_model(config), *_training(config), *_evaluation(config)]


def _model(config: "TrainConfig") -> list[str]:
    found = []
    if config.adapter.type == "none" and config.model.quantization != "none":
        found.append(
            f"model.quantization: {config.model.quantization} weights are frozen, so adapter.type: none "
            "would train nothing; use adapter.type: lora, or quantization: none"
        )
    if config.model.base == "starter" and config.model.revision is not None:
        found.append("model.revision: only a model of the hub has revisions; base is starter")
    return found


def _training(config: "TrainConfig") -> list[str]:
    rows, effective = config.training.batch_size, config.training.effective_batch_size
    if rows != "auto" and rows > effective:
        return [
            f"training.batch_size: {rows} examples at once are more than the {effective} that make a step; "
            f"use batch_size: auto, or effective_batch_size: {rows}"
        ]
    return []


def _evaluation(config: "TrainConfig") -> list[str]:
    found = []
    if config.data.format == "completion" and "exact_match" in config.evaluation.metrics:
        found.append(
            "evaluation.metrics: exact_match needs rows with a question and an answer, "
            "and data.format: completion is text alone"
        )
    if config.data.validation == 0:
        if "exact_match" in config.evaluation.metrics:
            found.append(
                "evaluation.metrics: exact_match asks held-out prompts, and data.validation: 0 holds out none"
            )
        if config.evaluation.early_stopping_patience is not None:
            found.append(
                "evaluation.early_stopping_patience: watches the loss of held-out rows, "
                "and data.validation: 0 holds out none"
            )
    return found
