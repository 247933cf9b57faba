"""The contract of an objective: the loss of a batch from the model's log-probabilities, for every backend alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.data.types import Batch


class Ops(Protocol):
    """Operations on the arrays of a backend, beside their own arithmetic, `.sum()`, `.mean()` and comparisons."""

    def array(self, values: npt.NDArray[Any]) -> Any:
        """The values on the backend's device."""
        ...

    def take(self, values: Any, places: npt.NDArray[np.integer]) -> Any:
        """`values[places]`, differentiable."""
        ...

    def sum_by(self, values: Any, groups: npt.NDArray[np.integer], count: int) -> Any:
        """The sum of the values `[n]` of each group, `[count]`; `groups` `[n]` are numbers below `count`."""
        ...

    def log_sigmoid(self, values: Any) -> Any:
        """log(1 / (1 + exp(-x))), without overflow."""
        ...

    def exp(self, values: Any) -> Any:
        """e to the power of each value."""
        ...

    def maximum(self, values: Any, least: float) -> Any:
        """Each value, or `least` where it is below that."""
        ...

    def constant(self, values: Any) -> Any:
        """The same values, through which no gradient flows."""
        ...


@dataclass(frozen=True)
class Outputs:
    """Log-probabilities of a batch.

    `logps` `[n]` are the log-probabilities in nats of the trained tokens, in the batch's order, differentiable.
    `reference` `[n]` are those of the model without its adapter; None where the objective needs none.
    """

    logps: Any
    reference: Any | None = None


class Objective(Protocol):
    """The loss of a training method. The same code serves torch and MLX, through `Ops`."""

    @property
    def weighs_tokens(self) -> bool:
        """True if the loss is the sum of -weight x log-probability: backends then make its gradient in the forward
        pass, and never hold what the general form needs."""
        ...

    @property
    def needs_reference(self) -> bool:
        """True if `loss` compares with the model without its adapter."""
        ...

    def normaliser(self, batches: Sequence[Batch]) -> float:
        """Divisor of a step's summed loss: trained tokens, pairs or sequences."""
        ...

    def loss(self, outputs: Outputs, batch: Batch, ops: Ops) -> tuple[Any, Mapping[str, Any]]:
        """The summed loss of a batch, and metrics summed likewise: both are divided by the normaliser."""
        ...


def sequence_logps(logps: Any, batch: Batch, ops: Ops) -> Any:
    """The log-probability of the trained tokens of each sequence, `[sequences]`, from those of the tokens `[n]`."""
    return ops.sum_by(logps, batch.sequence_of, batch.sequences)
