"""The learning rate of every step."""

import math

from engine.config.sections import Training


def learning_rate(training: Training, step: int, total: int) -> float:
    """The rate at which step `step` (from 0) of `total` moves the weights.

    Warm-up is linear over `warmup_ratio` of the steps, then the scheduler's shape runs to the last step:
    cosine as in SGDR without restarts (Loshchilov & Hutter 2017, arXiv:1608.03983).
    """
    warmup = math.ceil(training.warmup_ratio * total)
    if step < warmup:
        return training.learning_rate * (step + 1) / (warmup + 1)
    gone = (step - warmup) / max(1, total - warmup)
    shapes = {
        "constant": 1.0,
        "linear": 1.0 - gone,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * gone)),
    }
    return training.learning_rate * shapes[training.scheduler]
