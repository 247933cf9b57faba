"""The contract of an objective: the loss of a batch from the model's log-probabilities, for every backend alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # whoever reads a recipe imports the methods' sections, which stand beside their objectives
    import numpy as np
    import numpy.typing as npt

    from engine.data.types import Batch


class Ops(Protocol):
    """Operations on the arrays of a backend, beside their own arithmetic, `.sum()`, `.mean()` and comparisons."""

    def array(self, values: "npt.NDArray[Any]") -> Any:
        """The values on the backend's device."""
        ...

    def take(self, values: Any, places: "npt.NDArray[np.integer]") -> Any:
        """`values[places]`, differentiable."""
        ...

    def sum_by(self, values: Any, groups: "npt.NDArray[np.integer]", count: int) -> Any:
        """The sum of the values `[n]` of each group, `[count]`; `groups` `[n]` are numbers below `count`."""
        ...

    def log_sigmoid(self, values: Any) -> Any:
        """log(1 / (1 + exp(-x))), without overflow."""
        ...

    def log1m_exp(self, values: Any) -> Any:
        """log(1 - exp(x)) of values below zero, without cancellation near zero."""
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
    `reference` `[n]` are those of the model as it was before the first step; None where the objective needs none.
    """

    logps: Any
    reference: Any | None = None


Sums = Mapping[str, tuple[Any, float]]
"""Metrics of a batch by name: the sum, and what it is divided by once the sums of all batches are added."""


class Objective(Protocol):
    """The loss of a training method. The same code serves torch and MLX, through `Ops`.

    A class that names this one as its base has the four properties as they are here unless it sets them.
    """

    weighs_tokens: bool = False
    """True if the loss is the sum of -weight x log-probability: backends then make its gradient in the forward pass,
    and never hold what the general form needs."""
    reweighs_tokens: bool = False
    """True if it weighs tokens, and by the model's own log-probabilities in a step. Validation leaves that out."""
    needs_reference: bool = False
    """True if `loss` compares with the model as it was before the first step."""
    needs_divergence: bool = False
    """True if `loss` takes the divergence from the reference on answers to other prompts (`Batch.divergence`)."""

    def normaliser(self, batches: "Sequence[Batch]") -> float:
        """Divisor of a step's summed loss: trained tokens, pairs or sequences."""
        ...

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        """The summed loss of a batch, which is divided by the normaliser, and its metrics."""
        ...


class Means:
    """Metrics over several batches: sums and counts are added, and divided at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, sums: Sums) -> None:
        """Take in the metrics of a batch."""
        for name, (value, count) in sums.items():
            known, before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = known + float(value), before + count

    @property
    def values(self) -> dict[str, float]:
        """The mean of each metric that something was counted for."""
        return {name: value / count for name, (value, count) in self._sums.items() if count}


def sequence_logps(logps: Any, batch: "Batch", ops: Ops) -> Any:
    """The log-probability of the trained tokens of each sequence, `[sequences]`, from those of the tokens `[n]`."""
    return ops.sum_by(logps, batch.sequence_of, batch.sequences)


def sequence_tokens(batch: "Batch", ops: Ops) -> Any:
    """The number of trained tokens of each sequence, `[sequences]`, at least 1."""
    counted = batch.trained_by_sequence.clip(min=1)
    return ops.array(counted.astype("float32"))
