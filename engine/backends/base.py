"""The roles of a backend: tensors, and nothing of epochs, schedules, checkpoints or events.

A `Model` answers, scores and serves as a reference; a `Trainer` holds one and moves its weights.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.backends.sampling import Sampler
from engine.data.types import Batch, Float32


@dataclass(frozen=True)
class StepResult:
    """One step of the optimizer: summed loss (nats), what it is divided by, gradient norm, the method's own metrics."""

    loss_sum: float
    normaliser: float
    grad_norm: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The mean that the step has minimised."""
        return self.loss_sum / self.normaliser


@dataclass(frozen=True)
class BatchScore:
    """The objective's summed loss of a batch, and its metrics: of each the sum, and what it is to be divided by."""

    loss: float
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Arrival:
    """A prompt that joins a decoder's rows, and the adapter that answers it: None for the model as it was opened."""

    prompt: Sequence[int]
    adapter: str | None = None


class Decoder(Protocol):
    """Answers that grow together, a token at a time; each row joins and leaves between two tokens.

    A row's logits do not depend on its neighbours, but for rounding. All calls come from one thread.
    """

    @property
    def slots(self) -> int:
        """Most rows."""
        ...

    @property
    def rows(self) -> Collection[int]:
        """Keys of the rows that are there."""
        ...

    @property
    def reading(self) -> Collection[int]:
        """Keys of the rows whose prompts the next steps read, beside the other rows; they have no logits yet."""
        ...

    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        """Take up prompts, none of them empty; returns the key of each new row. Needs as many free slots.

        Where it raises, no row is added, and those that were there can go on.
        """
        ...

    def logits(self, row: int) -> Float32:
        """Logits of the row's next token, `[vocabulary]`."""
        ...

    def likeliest(self) -> Mapping[int, int]:
        """The likeliest next token of every row that has logits."""
        ...

    def step(self, tokens: Mapping[int, int]) -> None:
        """Take the next token of every row that has logits, and read on."""
        ...

    def remove(self, row: int) -> None:
        """Free the slot of a row."""
        ...


class Model(Protocol):
    """A loaded model, with an adapter or without: for inference, evaluation, and as a reference."""

    @property
    def supports_packing(self) -> bool:
        """True if this model keeps packed sequences apart: tried on the model itself, not assumed."""
        ...

    @property
    def spins(self) -> bool:
        """True if its threads spin on the CPU while they wait, so that they have to give way to busy programs."""
        ...

    def logps(self, batch: Batch) -> Float32:
        """Log-probability in nats of every trained token, `[n]`, in the batch's order; no dropout, no gradients."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
        sampler: Sampler | None = None,
    ) -> list[list[int]]:
        """Continue each prompt up to a token of `stop`, which is left out; greedily without a sampler.

        `poll` is called before every token and may raise `Interrupted`.
        """
        ...

    def stream(
        self, prompt: Sequence[int], max_tokens: int, stop: Collection[int], sampler: Sampler | None = None
    ) -> Iterator[int]:
        """The same for one prompt, each token as it is chosen."""
        ...

    def decoder(self, slots: int) -> AbstractContextManager[Decoder]:
        """A decoder of at most `slots` rows. Inside the block, the model is used through it alone."""
        ...

    def narrow(self) -> None:
        """Hold the weights in the format of the model's files from now on, where this machine computes many rows faster
        in it than in the one that it was opened in. Its answers differ from those before by rounding."""
        ...

    def without_adapter(self) -> AbstractContextManager[None]:
        """The model as it was before training, for the length of the block. Raises ConfigError where it is gone."""
        ...

    def memory(self) -> MemoryReading:
        """Memory that the process and the device use now, and used at most."""
        ...


class Writer(Protocol):
    """Writes what was trained."""

    def save_weights(self, folder: Path) -> None:
        """Write the adapter in PEFT's layout, or the whole model after full training.

        The same weights give the same bytes.
        """
        ...


class Trainer(Writer, Protocol):
    """A model with the optimizer that moves its weights."""

    @property
    def model(self) -> Model:
        """The model that is trained, as it stands."""
        ...

    def step(
        self,
        batches: Sequence[Batch],
        normaliser: float,
        lr: float,
        seed: int,
        poll: Callable[[], None],
    ) -> StepResult:
        """Accumulate the micro-batches' gradients and move the weights once.

        The gradient is that of the objective's total loss over all micro-batches divided by `normaliser`, never a mean
        of means. `seed` fixes dropout; the same weights, batches and seed give the same result. `poll` is called
        before every micro-batch and may raise `Interrupted`. Raises `MemoryExhausted` with the weights untouched.
        """
        ...

    def evaluate(self, batch: Batch) -> BatchScore:
        """The objective's loss and metrics of a batch, without dropout. Touches no random numbers of training."""
        ...

    def save_state(self, folder: Path) -> None:
        """Write what resuming exactly needs: fp32 masters and the optimizer's state."""
        ...

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote, to the bit."""
        ...
