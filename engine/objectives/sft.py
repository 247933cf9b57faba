"""Supervised fine-tuning: the negative log-likelihood of the tokens to be learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.methods import Method
from engine.objectives.base import Objective, Ops, Outputs, Sums

if TYPE_CHECKING:
    from engine.data.types import Batch


class Supervised(Objective):
    """Cross-entropy of the trained tokens, each counted by its weight."""

    weighs_tokens = True

    def normaliser(self, batches: "Sequence[Batch]") -> float:
        """The weights of all trained tokens, which are their number where each weighs 1."""
        return float(sum(batch.weights.sum(dtype="float64") for batch in batches))

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        return -(outputs.logps * ops.array(batch.weights[batch.trained])).sum(), {}


METHOD = Method("sft", Supervised, summary="supervised fine-tuning on the rows' answers")
