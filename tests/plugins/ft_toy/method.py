"""A training method: the better answer is to be likelier than the worse one, by a margin a token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.data.types import Batch
from engine.methods import Method
from engine.objectives.base import Ops, Outputs, sequence_logps


@dataclass(frozen=True)
class Margin:
    """The keys of the recipe's section `margin:`."""

    width: float = 1.0
    """Nats a token by which the better answer is to lead."""


@dataclass(frozen=True)
class MarginObjective:
    """A hinge loss over pairs: max(0, width - lead), where the lead is that of the mean log-probability a token."""

    width: float
    weighs_tokens = False
    needs_reference = False

    def normaliser(self, batches: Sequence[Batch]) -> float:
        return float(sum(len(np.unique(batch.group)) for batch in batches))

    def loss(self, outputs: Outputs, batch: Batch, ops: Ops) -> tuple[Any, Mapping[str, Any]]:
        tokens = np.bincount(batch.sequence_of, minlength=batch.sequences)
        signed = ops.array((batch.sign / np.maximum(tokens, 1)).astype(np.float32))
        scores = sequence_logps(outputs.logps, batch, ops) * signed
        leads = ops.sum_by(scores, batch.group, int(batch.group.max()) + 1)
        return ops.maximum(self.width - leads, 0.0).sum(), {"lead": leads.sum()}


def build(keys: Margin) -> MarginObjective:
    return MarginObjective(keys.width)


MARGIN = Method("margin", build, config=Margin, samples="pairs")
