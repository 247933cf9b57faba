"""Results on validation rows that metrics are computed from: loss, log-probabilities, answers."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from engine.backends.base import Model, Trainer
from engine.backends.refilled import greedy_answers
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch, Question
from engine.hardware.memory import is_exhaustion
from engine.objectives.base import Means, Objective

ANSWER_ROWS = 32
"""Answers that grow together: enough to share the cost of reading the weights."""
Found = TypeVar("Found")


def within_memory(
    compute: Callable[[int], Found], rows: int, smaller: Callable[[int], None]
) -> tuple[Found, int]:
    """Compute something with `rows` at a time, half as many whenever memory runs out; also returns how many it took.

    `smaller(rows)` is called before each new try. Raises what `compute` raises where it is no lack of memory, or rows
    cannot be fewer.
    """
    while True:
        try:
            return compute(rows), rows
        except Exception as error:
            if rows == 1 or not is_exhaustion(error):
                raise
        # Only here are the failed pass's frames, and their tensors, gone.
        rows //= 2
        smaller(rows)


def validation_loss(
    trainer: Trainer, objective: Objective, batches: Sequence[Batch], poll: Callable[[int, int], None]
) -> tuple[float, dict[str, float]]:
    """Mean loss of `batches` (nats a token in supervised fine-tuning), and the objective's metrics over them.

    `poll(done, total)` comes before each batch.
    """
    loss, means = 0.0, Means()
    for done, batch in enumerate(batches):
        poll(done, len(batches))
        score = trainer.evaluate(batch)
        loss += score.loss
        means.add(score.metrics)
    normaliser = objective.normaliser(batches)
    return loss / normaliser if normaliser else math.nan, means.values


def log_probabilities(
    model: Model, batches: Sequence[Batch], poll: Callable[[int, int], None]
) -> list[float]:
    """Log-probability of every trained token of `batches`, in order; `poll(done, total)` comes before each."""
    found: list[float] = []
    for done, batch in enumerate(batches):
        poll(done, len(batches))
        found += model.logps(batch).tolist()
    return found


def answer_all(
    model: Model,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    poll: Callable[[int, int], None],
    check: Callable[[], None],
    rows: int = ANSWER_ROWS,
    positions: int | None = None,
    most: int | None = None,
) -> list[str]:
    """The greedy answers to `questions`, in their order; up to `rows` grow together.

    An answer may grow to `most` tokens; without that to the longest expected one and a little more, so that a longer
    answer counts as wrong without being written to its end. `poll(done, total)` comes after each answer, `check` before
    each token; both may raise `Interrupted`. `positions` is the most tokens of a prompt with its answer.
    """
    limit = most or _longest(tokenizer, questions)
    prompts = [question.prompt_ids for question in questions]
    rooms = [limit if positions is None else min(limit, positions - len(prompt)) for prompt in prompts]
    answers = greedy(model, prompts, rooms, tokenizer.stop_ids, rows, poll, check)
    return [tokenizer.decode(answer) for answer in answers]


def greedy(
    model: Model,
    prompts: Sequence[Sequence[int]],
    most: Sequence[int],
    stop: Collection[int],
    rows: int,
    poll: Callable[[int, int], None],
    check: Callable[[], None],
) -> list[list[int]]:
    """The greedy answer to each prompt, of at most so many tokens, in their order; up to `rows` grow together.

    `poll(done, total)` comes after each answer, `check` before each token; both may raise `Interrupted`.
    """
    poll(0, len(prompts))
    found: dict[int, list[int]] = {}
    for place, answer in greedy_answers(model, prompts, most, stop, rows, check):
        found[place] = answer
        poll(len(found), len(prompts))
    return [found[place] for place in range(len(prompts))]


def _longest(tokenizer: Tokenizer, questions: Sequence[Question]) -> int:
    """Tokens of the longest expected answer and a little more; a template may put much around a call of a tool."""
    texts = [each.answer + "".join(map(json.dumps, each.calls)) for each in questions]
    around = 8 + 16 * max(len(each.calls) for each in questions)
    return max(map(len, tokenizer.encode(texts, special=False))) + around
