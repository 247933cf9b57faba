"""Contrastive preference optimisation: DPO with a uniform reference, and the chosen answers are learned besides."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from engine.config.values import Section
from engine.methods import Method
from engine.objectives.base import Ops, Outputs, Sums, sequence_logps
from engine.objectives.pairs import (
    MARGINS,
    PairObjective,
    Sides,
    chosen_loss,
    margin_loss,
    margin_metrics,
    mean_logps,
    sides,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.data.types import Batch


class Cpo(Section):
    """Contrastive preference optimisation (arXiv:2401.08417): pairs, without a reference."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Factor of the answers' log-probabilities."""
    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    """Loss of a pair."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs that are probably labelled the wrong way round; for sigmoid."""
    nll_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the loss on the chosen answers, in nats a token."""


@dataclass(frozen=True)
class CpoObjective(PairObjective):
    """The loss of a pair is -log sigmoid(beta (log p(chosen) - log p(rejected))) and the loss on the chosen answer
    (arXiv:2401.08417, eq. 3 and 6)."""

    keys: Cpo

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        beta = self.keys.beta
        whole = sides(sequence_logps(outputs.logps, batch, ops), batch, ops)
        rewards = Sides(beta * whole.chosen, beta * whole.rejected)
        learned, metrics = chosen_loss(sides(mean_logps(outputs.logps, batch, ops), batch, ops))
        compared = margin_loss(rewards.margin, self.keys.loss, self.keys.label_smoothing, ops).sum()
        return compared + self.keys.nll_weight * learned, {**metrics, **margin_metrics(rewards)}


def problems(keys: Cpo) -> "Iterator[tuple[str, str]]":
    """Keys that do not go together, each with the reason."""
    if keys.label_smoothing and keys.loss == "hinge":
        yield "label_smoothing", "loss: hinge has no smoothing; use loss: sigmoid, or leave it out"


METHOD = Method(
    "cpo",
    CpoObjective,
    Cpo,
    samples="pairs",
    summary="contrastive preference optimisation",
    metrics=(*MARGINS, "chosen_loss"),
    problems=problems,
)
