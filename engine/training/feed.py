"""Examples that each step learns from, and the micro-batches that they are cut into."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from engine.backends.base import MemoryExhausted, Model
from engine.config.schema import TrainConfig
from engine.data.batching import Cut, micro_batches, steps_of_epoch
from engine.data.types import Batch, Examples
from engine.errors import OutOfMemoryError
from engine.hardware.memory import is_exhaustion
from engine.planning.limits import compared
from engine.planning.plan import Plan
from engine.runs.directory.events import Warned
from engine.runs.directory.run import Run
from engine.training.progress import Progress

Indexes = npt.NDArray[np.int64]
Found = TypeVar("Found")


class Feed(Protocol):
    """Source of a step's batches: a function of the step alone, so that a resumed run repeats it."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every example is used once."""
        ...

    def step(self, index: int) -> Sequence[Batch]:
        """The micro-batches of a step, cut as memory allows now."""
        ...


class MicroBatcher:
    """Cuts examples into the micro-batches in force, and makes them smaller where memory runs out."""

    def __init__(self, run: Run, config: TrainConfig, plan: Plan, model: Model, progress: Progress) -> None:
        """`progress` holds the limits in force, and is saved with every checkpoint.

        Warns where the model does not keep packed sequences apart, which are then padded.
        """
        self.run, self.config, self.plan, self.model, self.progress = run, config, plan, model, progress
        self.packing = plan.packing and model.supports_packing
        if plan.packing and not self.packing:
            note = "This model does not keep packed examples apart, so they are padded instead."
            run.emit(Warned(message=note))

    def cut(self, examples: Examples, indexes: Indexes, padding: int = 0) -> list[Batch]:
        """These examples, all members of a group among them, as micro-batches."""
        rows, tokens = self.progress.micro_batch_rows, self.progress.micro_batch_tokens
        return micro_batches(examples, indexes, Cut(rows, tokens, self.packing, self.plan.cut_cost), padding)

    def over(
        self, examples: Examples, indexes: Indexes, compute: Callable[[list[Batch]], Found], padding: int = 0
    ) -> Found:
        """Compute something over these examples, in smaller batches where memory runs out."""
        while True:
            batches = self.cut(examples, indexes, padding)
            try:
                return compute(batches)
            except Exception as error:
                if not is_exhaustion(error):
                    raise
                exhausted = MemoryExhausted(str(error))
            # Only here are the failed pass's frames, and their tensors, gone.
            self.shrink(batches, exhausted, evaluating=True)

    def shrink(self, batches: Sequence[Batch], error: MemoryExhausted, evaluating: bool = False) -> None:
        """Halve the micro-batch; the step's examples, and so the effective batch, stay the same.

        Raises OutOfMemoryError where these batches hold one example, or one group, each.
        """
        largest = max(batch.sequences for batch in batches)
        if max(len(np.unique(batch.group)) for batch in batches) <= 1:
            longest = max(len(batch.tokens) for batch in batches)
            raise OutOfMemoryError(
                f"Out of memory with a single example of {longest} tokens in the micro-batch: {error}. "
                f"{self._memory_then()}",
                "Set training.gradient_checkpointing: true, lower model.max_seq_length, "
                "or hold the weights in 4 bits with model.quantization: 4bit.",
            ) from error
        progress = self.progress
        progress.micro_batch_rows = largest // 2
        progress.micro_batch_tokens = max(1, progress.micro_batch_tokens // 2)
        doing = " while evaluating" if evaluating else ""
        self.run.emit(
            Warned(
                message=f"Out of memory{doing} at step {progress.step}: continuing with micro-batches of "
                f"{progress.micro_batch_rows} examples; the effective batch stays "
                f"{self.config.training.effective_batch_size}. {self._memory_then()}",
                hint=f"Set training.batch_size: {progress.micro_batch_rows} to start there.",
            )
        )

    def _memory_then(self) -> str:
        reading = self.model.memory()
        held = reading.device_peak_bytes if self.plan.device == "cuda" else reading.process_peak_bytes
        return compared(held, self.plan.memory.peak_bytes, self.plan.limit_bytes)


class ExampleFeed:
    """Prepared examples, every one once an epoch, in an order that seed and epoch fix. See `Feed`.

    A step counts groups where examples belong together: both answers of a pair are one.
    """

    def __init__(
        self, examples: Examples, config: TrainConfig, plan: Plan, batcher: MicroBatcher, padding: int = 0
    ) -> None:
        self.examples, self.batcher, self.padding = examples, batcher, padding
        self.seed, self.size = config.seed, config.training.effective_batch_size
        self.bucketed = plan.row_order == "bucketed" and not batcher.packing
        self.starts = _starts(examples)

    @property
    def steps_per_epoch(self) -> int:
        return -(-(len(self.starts) - 1) // self.size)

    def step(self, index: int) -> list[Batch]:
        return self.batcher.cut(self.examples, self.rows(index), self.padding)

    def rows(self, index: int) -> Indexes:
        """The examples of a step by their numbers, groups side by side."""
        epoch, place = divmod(index, self.steps_per_epoch)
        chosen = self._epoch(epoch)[place]
        if self.examples.group is None:
            return chosen
        return np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in chosen])

    @lru_cache(maxsize=1)  # noqa: B019 - one feed a process; the order of one epoch is all that is kept
    def _epoch(self, epoch: int) -> list[Indexes]:
        lengths = np.diff(self.examples.offsets[self.starts])
        return steps_of_epoch(lengths, self.seed, epoch, self.size, self.bucketed)


def _starts(examples: Examples) -> Indexes:
    """The first example of each group, and the end, int64 `[groups + 1]`; each is its own where they stand alone."""
    if examples.group is None:
        return np.arange(len(examples) + 1)
    edges = np.flatnonzero(np.diff(examples.group)) + 1
    return np.concatenate([[0], edges, [len(examples)]]).astype(np.int64)
