"""How good the model is on rows that it never trained on."""

import math
from collections.abc import Callable, Iterator, Sequence

from engine.backends.base import Model, Trainer
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch, Question
from engine.objectives.base import Objective

ANSWER_ROWS = 32
"""Prompts answered at once: enough to share the cost of reading the weights."""


def validation_loss(
    trainer: Trainer, objective: Objective, batches: Sequence[Batch], poll: Callable[[int, int], None]
) -> float:
    """Mean loss of `batches` (nats a token in supervised fine-tuning); `poll(done, total)` comes before each."""
    loss = 0.0
    for done, batch in enumerate(batches):
        poll(done, len(batches))
        loss += trainer.evaluate(batch)
    normaliser = objective.normaliser(batches)
    return loss / normaliser if normaliser else math.nan


def exact_match(
    model: Model,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    poll: Callable[[int, int], None],
    check: Callable[[], None],
    rows: int = ANSWER_ROWS,
    positions: int | None = None,
) -> float:
    """The share of `questions` whose greedy answer equals the file's, white space at the ends aside; `rows` at once.

    An answer may grow to the longest expected one and a little more, so that a longer answer counts as wrong
    without being written to its end. `poll(done, total)` comes before each batch and as its answers grow, `check`
    before each token; both may raise `Interrupted`. `positions` is the most tokens of a prompt with its answer.
    """
    ordered = sorted(questions, key=lambda question: len(question.prompt_ids))
    longest = max(map(len, tokenizer.encode([q.answer for q in questions], special=False)))
    limit, right = longest + 8, 0
    done = 0
    for part, room in _parts(ordered, rows, limit, positions):
        poll(done, len(ordered))
        prompts = [question.prompt_ids for question in part]
        told = _telling(range(done, done + len(part)), len(ordered), room, poll, check)
        answers = model.generate(prompts, room, tokenizer.stop_ids, told)
        done += len(part)
        right += sum(
            tokenizer.decode(answer).strip() == question.answer.strip()
            for answer, question in zip(answers, part, strict=True)
        )
    return right / len(ordered)


def _parts(
    ordered: Sequence[Question], rows: int, limit: int, positions: int | None
) -> Iterator[tuple[Sequence[Question], int]]:
    """Questions that are answered at once, and the most tokens of their answers.

    Rows of a batch grow together, to the end of the longest; where the model has positions for fewer tokens than the
    limit, a question is answered alone.
    """
    start = 0
    while start < len(ordered):
        part = ordered[start : start + rows]
        room = limit if positions is None else positions - len(part[-1].prompt_ids)
        if room < limit:
            part = part[:1]
            room = limit if positions is None else positions - len(part[0].prompt_ids)
        yield part, min(limit, room)
        start += len(part)


def _telling(
    part: range, total: int, limit: int, poll: Callable[[int, int], None], check: Callable[[], None]
) -> Callable[[], None]:
    """What is called before each token of the answers `part`, up to `limit` of them: a batch may take minutes."""
    told, tokens = part.start, 0

    def before_token() -> None:
        nonlocal told, tokens
        check()
        done = part.start + len(part) * min(tokens, limit) // limit
        tokens += 1
        if done > told:
            told = done
            poll(done, total)

    return before_token
