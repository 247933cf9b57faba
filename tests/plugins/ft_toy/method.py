"""A training method: the better answer is to be likelier than the worse one, by a margin a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.types import Batch
from engine.methods import Method
from engine.objectives.base import Objective, Ops, Outputs, Sums
from engine.objectives.pairs import mean_logps, pairs_in, sides


@dataclass(frozen=True)
class Margin:
    """The keys of the recipe's section `margin:`."""

    width: float = 1.0
    """Nats a token by which the better answer is to lead."""


@dataclass(frozen=True)
class MarginObjective(Objective):
    """A hinge loss over pairs: max(0, width - lead), where the lead is that of the mean log-probability a token."""

    width: float

    def normaliser(self, batches: Sequence[Batch]) -> float:
        return float(sum(pairs_in(batch) for batch in batches))

    def loss(self, outputs: Outputs, batch: Batch, ops: Ops) -> tuple[Any, Sums]:
        leads = sides(mean_logps(outputs.logps, batch, ops), batch, ops).margin
        return ops.maximum(self.width - leads, 0.0).sum(), {"lead": (leads.sum(), pairs_in(batch))}


def build(keys: Margin) -> MarginObjective:
    return MarginObjective(keys.width)


MARGIN = Method("margin", build, config=Margin, samples="pairs")
