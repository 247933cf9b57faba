"""Supervised fine-tuning: the negative log-likelihood of the tokens to be learned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from engine.config.values import Section
from engine.methods import Method
from engine.objectives.base import Objective, Ops, Outputs, Sums

if TYPE_CHECKING:
    from engine.data.types import Batch


class Sft(Section):
    """Supervised fine-tuning on the rows' answers."""

    loss: Literal["cross_entropy", "dft"] = "cross_entropy"
    """`dft` counts each token by its own probability: unlikely ones pull less, which keeps more of what was known."""


@dataclass(frozen=True)
class Supervised(Objective):
    """Cross-entropy of the trained tokens, each counted by its weight.

    With `dft` the weight of a token is multiplied by its probability, through which no gradient flows
    (arXiv:2508.05629, eq. 9). Validation rows are scored without that: the product is small for a token that the model
    knows, and for one that it does not know at all.
    """

    keys: Sft = field(default_factory=Sft)
    weighs_tokens = True

    @property
    def reweighs_tokens(self) -> bool:  # type: ignore[override]
        return self.keys.loss == "dft"

    def normaliser(self, batches: "Sequence[Batch]") -> float:
        """The weights of all trained tokens, which are their number where each weighs 1."""
        return float(sum(batch.weights.sum(dtype="float64") for batch in batches))

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        weighted = outputs.logps * ops.array(batch.weights[batch.trained])
        if self.reweighs_tokens:
            tokens = float(batch.trained_tokens)
            metrics = {"cross_entropy": (-outputs.logps.sum(), tokens)}
            return -(weighted * ops.exp(ops.constant(outputs.logps))).sum(), metrics
        return -weighted.sum(), {}


METHOD = Method("sft", Supervised, Sft, summary="supervised fine-tuning")
