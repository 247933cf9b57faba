"""What a step of a comparing method needs beside its rows: the reference, and the divergence from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.backends.base import Model
from engine.data.types import Batch, Examples, Float32
from engine.objectives.base import Objective
from engine.training.feed import ExampleFeed, MicroBatcher
from engine.training.heartbeat import Heartbeat
from engine.training.reference import positions_of

Indexes = npt.NDArray[np.int64]
NOTE = "what the model says before training, to compare with"


class Comparison:
    """Fills in the reference before the first step, and adds the divergence to each step's batches."""

    def __init__(
        self, objective: Objective, model: Model, batcher: MicroBatcher, heartbeat: Heartbeat
    ) -> None:
        self.objective, self.model = objective, model
        self.batcher, self.heartbeat = batcher, heartbeat

    def prepare(self, feed: ExampleFeed, steps: int, validation: Examples | None) -> None:
        """Compute what is missing of the reference on the rows of `steps` steps and on the validation rows.

        The model has to be as it is before the first step. What is computed is kept wherever this is interrupted.
        Raises Interrupted where a stop is asked for.
        """
        if not self.objective.needs_reference:
            return
        steps = min(steps, feed.steps_per_epoch)
        looks = [(feed.examples, feed.rows(step), feed.padding) for step in range(steps)]
        if validation is not None:
            looks.append((validation, np.arange(len(validation)), 0))
        missing = [look for look in looks if _is_missing(*look[:2])]
        for done, look in enumerate(missing):
            self.heartbeat.progress(done, len(missing), NOTE)
            self._fill(*look)

    def _fill(self, examples: Examples, rows: Indexes, padding: int) -> None:
        """Write down what the model gives these examples."""
        assert examples.reference is not None
        for batch, logps in self.batcher.over(examples, rows, self._scored, padding):
            examples.reference[positions_of(examples, batch.examples)] = logps
        if examples.mismatched is not None:
            examples.mismatched[np.sort(rows)] = self._on_other_prompts(examples, np.sort(rows))

    def _scored(self, batches: Sequence[Batch]) -> list[tuple[Batch, Float32]]:
        found = []
        for batch in batches:
            self.heartbeat.check()
            found.append((batch, self.model.logps(batch)))
        return found

    def with_divergence(self, examples: Examples, batches: Sequence[Batch]) -> list[Batch]:
        """The batches, each with the divergence of all of their rows from the reference, where the objective needs it.

        It is the mean over rows of the gain on the reference of another row's answer, at least 0: an estimate of the KL
        divergence that no gradient flows through (arXiv:2402.01306, section 4.2). Over all rows of a step, so that it
        does not depend on the micro-batch.
        """
        if examples.mismatched is None:
            return list(batches)
        rows = np.sort(np.concatenate([batch.examples for batch in batches]))
        gains = self._on_other_prompts(examples, rows) - examples.mismatched[rows]
        divergence = max(0.0, float(gains.mean()))
        return [replace(batch, divergence=divergence) for batch in batches]

    def _on_other_prompts(self, examples: Examples, rows: Indexes) -> Float32:
        """Log-probability in nats of the next row's answer to the prompt of each of these rows, `[rows]`."""
        pairs = mismatched(examples, rows)
        found = np.zeros(len(rows))
        everything = np.arange(len(rows))
        for batch, logps in self.batcher.over(pairs, everything, self._scored):
            found[batch.examples] = np.bincount(batch.sequence_of, weights=logps, minlength=batch.sequences)
        return found.astype(np.float32)


def mismatched(examples: Examples, rows: Indexes) -> Examples:
    """Of each row its prompt, with the answer of the row that follows it in the file, cut to the longest example.

    Which answer a prompt gets is the same in every epoch, so that the reference is computed once.
    """
    longest, tokens, trained = int(examples.lengths.max()), [], []
    for row in rows:
        prompt, answer = examples[int(row)], examples[(int(row) + 1) % len(examples)]
        begins, starts = (int(np.argmax(one.labels >= 0)) for one in (prompt, answer))
        ids = np.concatenate([prompt.input_ids[:begins], answer.input_ids[starts:]])[:longest]
        own = np.concatenate([np.zeros(begins, np.bool_), answer.labels[starts:] >= 0])[:longest]
        tokens.append(ids)
        trained.append(own)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in tokens])]).astype(np.int64)
    return Examples(np.concatenate(tokens).astype(np.int32), np.concatenate(trained), offsets)


def _is_missing(examples: Examples, rows: Indexes) -> bool:
    """Return True if the reference of any of these examples is not known."""
    assert examples.reference is not None
    if np.isnan(examples.reference[positions_of(examples, rows)]).any():
        return True
    return examples.mismatched is not None and bool(np.isnan(examples.mismatched[rows]).any())
