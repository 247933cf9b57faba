"""Odds ratio preference optimisation: supervised fine-tuning on the chosen answers with a penalty on the rejected."""

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
    chosen_loss,
    margin_metrics,
    mean_logps,
    sides,
)

if TYPE_CHECKING:
    from engine.data.types import Batch


LEAST = 1e-7
"""Nats below certainty from which odds are counted: those of certainty are infinite, and their slope is no number."""


class Orpo(Section):
    """Odds ratio preference optimisation (arXiv:2403.07691): pairs, in one stage and without a reference."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the odds ratio beside the loss on the chosen answers; lambda in the paper."""


def log_odds(means: Any, ops: Ops) -> Any:
    """log(p / (1 - p)) of log p `[pairs]`, for a p that is 1 in fp32 as for the largest below it."""
    surprise = ops.maximum(-means, LEAST)
    return -surprise - ops.log1m_exp(-surprise)


@dataclass(frozen=True)
class OrpoObjective(PairObjective):
    """The loss of a pair is -log p(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected)).

    p is the geometric mean of the probabilities of an answer's tokens, and odds(p) = p / (1 - p) (arXiv:2403.07691,
    eq. 3 to 7).
    """

    keys: Orpo

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        means = sides(mean_logps(outputs.logps, batch, ops), batch, ops)
        odds = Sides(*(log_odds(side, ops) for side in means))
        learned, metrics = chosen_loss(means)
        beta = self.keys.beta
        compared = margin_metrics(Sides(beta * means.chosen, beta * means.rejected))
        return learned - beta * ops.log_sigmoid(odds.margin).sum(), {**metrics, **compared}


METHOD = Method(
    "orpo",
    OrpoObjective,
    Orpo,
    samples="pairs",
    summary="odds ratio preference optimisation",
    metrics=(*MARGINS, "chosen_loss"),
)
