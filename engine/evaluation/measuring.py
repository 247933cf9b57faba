"""Results of one model on rows: log-probabilities, answers, scores of labels; what metrics are computed from."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import Model
from engine.data.batching import Cut, micro_batches
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch, Examples, Question
from engine.errors import ModelError
from engine.evaluation.scores import ANSWER_ROWS, answer_all, log_probabilities, within_memory
from engine.metrics.base import Need, Results
from engine.metrics.labels import closed_set, label_of

BATCH_TOKENS = 4096
"""Most tokens in a batch that is scored, so that its activations stay small beside the weights."""


@dataclass(frozen=True)
class Rows:
    """Rows to score: tokens with trained spans, and prompts with their answers."""

    examples: Examples
    questions: tuple[Question, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of what is scored: tokens, trained spans, prompts and expected answers."""
        digest = hashlib.sha256()
        for array in (self.examples.tokens, self.examples.trained, self.examples.offsets):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(
            json.dumps([[each.prompt_ids, each.answer, each.calls] for each in self.questions]).encode()
        )
        return digest.hexdigest()


@dataclass
class Measuring:
    """Measures models on rows, batch by batch.

    `poll(done, total)` comes before each batch, `check()` before each token of answers; both may raise. `smaller(rows)`
    is called where memory runs out, before fewer are tried together. `most` bounds the tokens of an answer.
    """

    needs: frozenset[Need]
    poll: Callable[[int, int], None]
    check: Callable[[], None]
    smaller: Callable[[int], None]
    most: int | None = None
    batch_rows: int = ANSWER_ROWS

    def results(self, model: Model, tokenizer: Tokenizer, rows: Rows, positions: int | None) -> Results:
        """The results that the metrics need. `positions` is the most tokens of a prompt with its answer.

        Raises ModelError where the model's log-probabilities are not numbers.
        """
        scores, losses = self._losses(model, rows.examples)
        questions = rows.questions
        return Results(
            loss=-float(np.mean(scores)) if scores else None,
            answers=self._answers(model, tokenizer, questions, positions),
            references=[question.answer for question in questions],
            log_probabilities=scores,
            losses=losses,
            calls=[question.calls for question in questions],
            **self.labels(model, tokenizer, questions),
        )

    def labels(self, model: Model, tokenizer: Tokenizer, questions: Sequence[Question]) -> dict[str, Any]:
        """The fields of `Results` about labels; empty where no metric needs them, or the answers are no labels."""
        found = label_texts([each.answer for each in questions]) if "label_scores" in self.needs else {}
        if not found:
            return {}
        ids = tokenizer.encode(list(found.values()), special=False)
        scores = self._label_scores(model, questions, ids)
        return {"labels": tuple(found), "label_scores": scores, "label_tokens": list(map(len, ids))}

    def _answers(
        self, model: Model, tokenizer: Tokenizer, questions: Sequence[Question], positions: int | None
    ) -> list[str] | None:
        if not questions or "answers" not in self.needs:
            return None
        answers, self.batch_rows = within_memory(
            lambda rows: answer_all(
                model, tokenizer, questions, self.poll, self.check, rows, positions, self.most
            ),
            self.batch_rows,
            self.smaller,
        )
        return answers

    def _losses(self, model: Model, examples: Examples) -> tuple[list[float], list[tuple[float, int]]]:
        """Log-probability of each trained token, and each example's summed loss with its number of tokens."""
        if not len(examples):
            return [], []
        (batches, scores), self.batch_rows = within_memory(
            lambda rows: self._scored(model, examples, rows), self.batch_rows, self.smaller
        )
        found: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
        order = iter(np.argsort(-examples.lengths, kind="stable"))  # as `micro_batches` cuts them
        for batch, logps in zip(batches, scores, strict=True):
            for loss, tokens in _by_sequence(batch, logps):
                found[int(next(order))] = (loss, tokens)
        flat = [value for logps in scores for value in logps]
        if not np.isfinite(flat).all():
            raise ModelError(
                "The model's log-probabilities are not numbers, so it cannot be scored.",
                "Its weights hold NaN or infinity, or the precision is too small for it: train again with "
                "training.precision: fp32, or from an earlier checkpoint.",
            )
        return flat, found

    def _scored(self, model: Model, examples: Examples, rows: int) -> tuple[list[Batch], list[list[float]]]:
        cut = Cut(rows, BATCH_TOKENS * rows // ANSWER_ROWS, model.supports_packing)
        batches = micro_batches(examples, np.arange(len(examples)), cut)
        done = 0
        found = []
        for done, batch in enumerate(batches):
            self.poll(done, len(batches))
            found.append(log_probabilities(model, [batch], _unheard))
        return batches, found

    def _label_scores(
        self, model: Model, questions: Sequence[Question], ids: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Summed log-probability of each label, by its tokens, as the answer to each question."""
        flat = self.answers_logps(
            model, [(question.prompt_ids, label) for question in questions for label in ids]
        )
        return [flat[at : at + len(ids)] for at in range(0, len(flat), len(ids))]

    def answers_logps(
        self, model: Model, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[float]:
        """Summed log-probability (nats) of each answer after its prompt, both as tokens."""
        if not pairs:
            return []
        _, losses = self._losses(model, _answered(pairs))
        return [-loss for loss, _ in losses]


def label_texts(references: Sequence[str]) -> dict[str, str]:
    """Each label of the closed set that the expected answers are from, and how they write it most often.

    Empty where the answers are no labels.
    """
    written = {label: Counter[str]() for label in closed_set(references)}
    for reference in references:
        if (label := label_of(reference)) in written:
            written[label][reference] += 1
    return {label: counts.most_common(1)[0][0] for label, counts in written.items()}


def _answered(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Examples:
    """Examples of prompts with answers, of which the answers alone count."""
    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    return Examples(
        tokens=np.concatenate([np.array([*prompt, *answer], dtype=np.int32) for prompt, answer in pairs]),
        trained=np.concatenate(
            [np.arange(len(prompt) + len(answer)) >= len(prompt) for prompt, answer in pairs]
        ),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _by_sequence(batch: Batch, logps: Sequence[float]) -> list[tuple[float, int]]:
    """Summed loss and number of trained tokens of each sequence of a batch."""
    losses = np.bincount(batch.sequence_of, weights=-np.asarray(logps), minlength=batch.sequences)
    tokens = np.bincount(batch.sequence_of, minlength=batch.sequences)
    return list(zip(losses.tolist(), tokens.tolist(), strict=True))


def _unheard(done: int, total: int) -> None:
    """Ignore progress."""
