"""Kahneman-Tversky optimisation: answers that are labelled good or bad, each on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.config.values import Section
from engine.methods import Method
from engine.objectives.base import Objective, Ops, Outputs, Sums, sequence_logps

if TYPE_CHECKING:
    from engine.data.types import Batch


class Kto(Section):
    """Kahneman-Tversky optimisation (arXiv:2402.01306): answers labelled good or bad, or the two of a pair apart."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How closely the model is held to the one before training; the higher, the closer."""
    desirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of good answers: raise it where they are fewer."""
    undesirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of bad answers: raise it where they are fewer."""


@dataclass(frozen=True)
class KtoObjective(Objective):
    """With r an answer's gain on the reference in nats and z the divergence of the step: a good answer loses
    weight x (1 - sigmoid(beta (r - z))), a bad one weight x (1 - sigmoid(beta (z - r))) (arXiv:2402.01306, eq. 8).
    """

    keys: Kto
    needs_reference = True
    needs_divergence = True

    def normaliser(self, batches: "Sequence[Batch]") -> float:
        """The number of answers."""
        return float(sum(batch.sequences for batch in batches))

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        keys, good = self.keys, batch.sign > 0
        gains = sequence_logps(outputs.logps - outputs.reference, batch, ops)
        signs = ops.array(batch.sign.astype("float32"))
        factors = good * keys.desirable_weight + ~good * keys.undesirable_weight
        values = ops.exp(ops.log_sigmoid(keys.beta * signs * (gains - batch.divergence)))
        losses = ops.array(factors.astype("float32")) * (1.0 - values)
        rewards = keys.beta * gains
        metrics = {
            name: ((rewards * ops.array(side.astype("float32"))).sum(), float(side.sum()))
            for name, side in (("chosen_reward", good), ("rejected_reward", ~good))
        }
        return losses.sum(), {**metrics, "kl": (batch.divergence * batch.sequences, float(batch.sequences))}


METHOD = Method(
    "kto",
    KtoObjective,
    Kto,
    samples="labelled",
    summary="Kahneman-Tversky optimisation",
    metrics=("chosen_reward", "rejected_reward", "kl"),
)
