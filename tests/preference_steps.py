"""Steps of a method on a few rows of tokens, for comparisons between programs and backends."""

from dataclasses import replace
from typing import Any

import numpy as np

from engine.backends import load_trainer
from engine.data.batching import batch_of
from engine.data.types import Batch, Examples
from engine.training.comparison import mismatched
from tests.training import Job

RATE = 3e-3
Curve = list[tuple[float, float]]
"""Loss and gradient norm of each step."""
PROMPT, ANSWERS = 1, (8, 5, 8, 6, 8, 9, 8, 4)
"""Tokens of each prompt, and of each answer: a chosen one, its rejected one, the next chosen one, …

TRL's ORPO counts the prompt in the loss on the chosen answer, and its ORPO and CPO take the mean over the tokens of
all answers where the papers take each answer's own. With prompts of one token, which nothing predicts, and chosen
answers of one length both are the same.
"""


def examples(pairs: bool) -> Examples:
    """Four pairs, or their answers each on its own."""
    draw = np.random.default_rng(5)
    prompts = [draw.integers(10, 90, PROMPT) for _ in ANSWERS[::2]]
    rows = [
        np.concatenate([prompts[at // 2], draw.integers(10, 90, size)]) for at, size in enumerate(ANSWERS)
    ]
    lengths = [len(row) for row in rows]
    count = len(rows)
    return Examples(
        tokens=np.concatenate(rows).astype(np.int32),
        trained=np.concatenate([np.arange(length) >= PROMPT for length in lengths]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        group=(np.arange(count) // (2 if pairs else 1)).astype(np.int32),
        sign=np.where(np.arange(count) % 2, -1, 1).astype(np.int8),
    )


def steps_on(job: Job, rows: Examples, count: int, backend: str = "peft") -> Curve:
    """So many steps of the job's method, each on all rows, in fp32."""
    plan, objective = (
        job.plan.changed(backend=backend, weights_dtype="fp32", compute_dtype="fp32"),
        job.objective,
    )
    trainer = load_trainer(plan, job.config, job.model, objective)
    whole = batch_of(rows, np.arange(len(rows)))
    others = batch_of(mismatched(rows, np.arange(len(rows))), np.arange(len(rows)))

    def sums(batch: Batch) -> Any:
        return np.bincount(batch.sequence_of, weights=trainer.model.logps(batch))

    reference, before, curve = trainer.model.logps(whole), sums(others), []
    for seed in range(count):
        divergence = max(0.0, float((sums(others) - before).mean())) if objective.needs_divergence else 0.0
        compared = reference if objective.needs_reference else None
        one = replace(whole, reference=compared, divergence=divergence)
        step = trainer.step([one], objective.normaliser([one]), RATE, seed, lambda: None)
        curve.append((step.loss, step.grad_norm))
    return curve
