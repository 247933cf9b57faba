"""Simple preference optimisation: the chosen answer is to be likelier a token, by a margin, without a reference."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.config.values import Section
from engine.methods import Method
from engine.objectives.base import Ops, Outputs, Sums
from engine.objectives.pairs import (
    MARGINS,
    PairObjective,
    Sides,
    margin_loss,
    margin_metrics,
    mean_logps,
    sides,
)

if TYPE_CHECKING:
    from engine.data.types import Batch


class Simpo(Section):
    """Simple preference optimisation (arXiv:2405.14734): pairs, mean log-probabilities a token, no reference."""

    beta: Annotated[float, Field(gt=0)] = 2.0
    """Factor of the mean log-probabilities; 2 to 10 is usual."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """Lead that the chosen answer is to have, in the units of beta times nats a token."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs that are probably labelled the wrong way round."""


@dataclass(frozen=True)
class SimpoObjective(PairObjective):
    """The loss of a pair is -log sigmoid(beta (l - l') - gamma), with l and l' the mean log-probabilities of a token of
    the chosen and the rejected answer (arXiv:2405.14734, eq. 6)."""

    keys: Simpo

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        means = sides(mean_logps(outputs.logps, batch, ops), batch, ops)
        rewards = Sides(self.keys.beta * means.chosen, self.keys.beta * means.rejected)
        losses = margin_loss(rewards.margin - self.keys.gamma, "sigmoid", self.keys.label_smoothing, ops)
        return losses.sum(), margin_metrics(rewards)


METHOD = Method(
    "simpo",
    SimpoObjective,
    Simpo,
    samples="pairs",
    summary="simple preference optimisation",
    metrics=MARGINS,
)
