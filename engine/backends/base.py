"""What a backend is: tensors, and nothing of epochs, schedules, checkpoints or events."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.data.types import Batch


@dataclass(frozen=True)
class StepResult:
    """One step of the optimizer: summed loss (nats), the trained tokens it is summed over, gradient norm."""

    loss_sum: float
    trained_tokens: int
    grad_norm: float


@dataclass(frozen=True)
class MemoryReading:
    """Bytes; None where the machine does not tell."""

    process_bytes: int | None = None
    process_peak_bytes: int | None = None
    device_bytes: int | None = None
    device_peak_bytes: int | None = None


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """Raised inside a step when `poll` says stop; the step's gradients are thrown away."""


class MemoryExhausted(Exception):  # noqa: N818 - the loop turns it into a smaller micro-batch
    """The device ran out of memory; weights and optimizer are as before the step."""


class Backend(Protocol):
    """A loaded model with its adapter and optimizer."""

    @property
    def packs(self) -> bool:
        """Whether this model keeps packed examples apart: tried on the model itself, not assumed."""
        ...

    def train_step(
        self, batches: Sequence[Batch], lr: float, seed: int, poll: Callable[[], None]
    ) -> StepResult:
        """Accumulate the micro-batches' gradients and move the weights once.

        The gradient is that of the total loss over the trained tokens of all micro-batches divided by
        their number, never a mean of means. `seed` fixes dropout; the same weights, batches and seed give
        the same result. `poll` is called before every micro-batch and may raise `Interrupted`.
        Raises `MemoryExhausted` with the weights untouched.
        """
        ...

    def evaluate(self, batch: Batch) -> tuple[float, int]:
        """Summed loss in nats and the number of trained tokens. Touches no random numbers of training."""
        ...

    def log_probabilities(self, batch: Batch) -> list[float]:
        """Log-probability of every trained token, row by row, in order."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
    ) -> list[list[int]]:
        """Continue each prompt greedily up to a token of `stop`, which is left out.

        `poll` is called before every token and may raise `Interrupted`.
        """
        ...

    def save_weights(self, folder: Path) -> None:
        """Write the adapter in PEFT's layout, or the whole model after full training.

        The same weights give the same bytes.
        """
        ...

    def save_state(self, folder: Path) -> None:
        """Write what going on exactly needs: fp32 masters and the optimizer's state."""
        ...

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote, to the bit."""
        ...

    def memory(self) -> MemoryReading:
        """What the process and the device use now, and used at most."""
        ...
