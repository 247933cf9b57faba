"""The parts that a training step is taken apart into, and what is taken apart."""

from dataclasses import dataclass
from typing import Any

from engine.data.batching import Cut, micro_batches, steps_of_epoch
from engine.data.types import Batch
from engine.objectives.sft import Supervised

SEED, RATE = 7, 2e-4
FROZEN = "products with frozen weights"
WIDENED = "frozen weights, widened"
ADAPTER = "adapter"
ATTENTION = "attention"
ELEMENTWISE = "norms, rotation, gate, sums"
HEAD = "loss at the head"
OPTIMIZER = "clipping and optimizer"
DATA = "making the batches"
REST = "the rest: Python, launching, waiting"
PARTS = (FROZEN, WIDENED, ADAPTER, ATTENTION, ELEMENTWISE, HEAD, OPTIMIZER, DATA, REST)


@dataclass(frozen=True)
class Work:
    """A trainer with its model, and what its steps learn from."""

    trainer: Any
    plan: Any
    examples: Any
    pad_id: int

    def take_step(self, batches: list[Batch], number: int) -> None:
        """One step of the optimizer on these micro-batches."""
        self.trainer.step(batches, Supervised().normaliser(batches), RATE, number, lambda: None)

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of a step, as the loop makes them."""
        plan, packing = self.plan, self.plan.packing and self.trainer.model.supports_packing
        size = plan.decisions.effective_batch_size
        order = steps_of_epoch(self.examples.lengths, SEED, 0, size)
        cut = Cut(plan.micro_batch_rows, plan.micro_batch_tokens, packing, plan.cut_cost)
        return micro_batches(self.examples, order[step % len(order)], cut, self.pad_id)
