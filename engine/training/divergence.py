"""Notice a run that is going wrong, before it wastes the night."""

import math

from engine.errors import TrainingError
from engine.training.progress import Progress

SMOOTHING = 0.9
RISE = 2.0
"""A moving average this many times its lowest value, plus one nat, is a divergence."""
MOST_SKIPPED = 5


def check_divergence(progress: Progress, loss: float, grad_norm: float) -> str:
    """Take in one step; returns a warning or nothing. Raises TrainingError where the weights are beyond use."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        progress.skipped += 1
        if progress.skipped >= MOST_SKIPPED:
            raise TrainingError(
                f"The loss or its gradient was not a number {MOST_SKIPPED} steps in a row (step {progress.step}).",
                "Lower training.learning_rate, or set training.precision: fp32, and resume from the last checkpoint.",
            )
        return f"Step {progress.step}: loss {loss}, gradient norm {grad_norm}; the step was skipped."
    progress.skipped = 0
    before = progress.loss_average
    average = loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * loss
    progress.loss_average = average
    progress.lowest_average = min(
        average, average if progress.lowest_average is None else progress.lowest_average
    )
    if average > RISE * progress.lowest_average + 1.0 and not progress.warned:
        progress.warned = True
        return (
            f"The loss is diverging: {average:.2f} on average at step {progress.step}, "
            f"{progress.lowest_average:.2f} at its lowest. A lower training.learning_rate usually helps."
        )
    return ""
