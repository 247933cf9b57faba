"""Jobs of augmentation: which rows are made from which, and which prompts are answered together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from engine.data.augment.options import SEEDS, Options
from engine.data.augment.pool import Pool
from engine.data.augment.questions import Question, question_of
from engine.data.selection import choose
from engine.data.types import Row

ROWS, TOKENS = 16, 16_384
"""Answers of a batch at most, and tokens that they and their prompts may come to: memory grows with them."""


@dataclass(frozen=True)
class Job:
    """One row to be made, of those at some lines."""

    number: int
    lines: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def question(self) -> Question:
        """Question in the first of them."""
        question = question_of(self.rows[0])
        assert question is not None, "the pool gives rows with a question"
        return question


def jobs_of(options: Options, pool: Pool) -> Iterator[Job]:
    """The rows to be made: each line as often as `amount` says, or for each new row some drawn lines."""
    count = max(1, round(options.amount * len(pool.lines)))
    if options.kind == "new-rows":
        drawn = [
            np.random.default_rng([options.seed, number]).choice(pool.lines, SEEDS, replace=False).tolist()
            for number in range(count)
        ]
    else:
        times, over = divmod(count, len(pool.lines))
        more = choose(len(pool.lines), over, options.seed)
        drawn = [[line] for line, one in zip(pool.lines, more, strict=True) for _ in range(times + int(one))]
    rows = pool.rows({line for lines in drawn for line in lines})
    for number, lines in enumerate(drawn):
        yield Job(number, tuple(lines), tuple(rows[line] for line in lines))


def batches(lengths: Mapping[int, int]) -> Iterator[list[int]]:
    """Numbers of prompts that are answered together: of like length, as many as memory should hold."""
    batch: list[int] = []
    for number in sorted(lengths, key=lambda number: (lengths[number], number)):
        if batch and (len(batch) == ROWS or (len(batch) + 1) * lengths[number] > TOKENS):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
