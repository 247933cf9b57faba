"""Supervised fine-tuning: the negative log-likelihood of the tokens to be learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.data.types import Batch
from engine.objectives.base import Ops, Outputs


class Supervised:
    """Cross-entropy of the trained tokens, each counted by its weight. See `engine.objectives.base.Objective`."""

    weighs_tokens = True
    needs_reference = False

    def normaliser(self, batches: Sequence[Batch]) -> float:
        """The weights of all trained tokens, which are their number where each weighs 1."""
        return float(sum(batch.weights.sum(dtype=np.float64) for batch in batches))

    def loss(self, outputs: Outputs, batch: Batch, ops: Ops) -> tuple[Any, Mapping[str, Any]]:
        return -(outputs.logps * ops.array(batch.weights[batch.trained])).sum(), {}


def supervised(config: None = None) -> Supervised:
    """The objective of `training.method: sft`, which has no keys of its own."""
    return Supervised()
