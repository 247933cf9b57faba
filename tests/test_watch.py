"""A run that goes wrong is noticed: a loss that is no number, a loss that climbs."""

import math

import pytest

from engine.config.sections import Training
from engine.errors import TrainingError
from engine.training.monitors import MOST_SKIPPED, check_divergence
from engine.training.progress import Progress
from engine.training.schedule import learning_rate


def test_a_climbing_loss_is_said_once() -> None:
    progress = Progress()
    losses = [2.0, 1.5, 1.2] + [6.0] * 40
    warnings = [warning for loss in losses if (warning := check_divergence(progress, loss, 1.0))]
    assert len(warnings) == 1
    assert "diverging" in warnings[0]


def test_falling_noisy_loss_is_left_alone() -> None:
    progress = Progress()
    assert not any(
        check_divergence(progress, 3.0 / (1 + step / 20) + 0.4 * (-1) ** step, 1.0) for step in range(200)
    )


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_nan_step_is_skipped(loss: float, norm: float) -> None:
    """A row of them ends the run."""
    progress = Progress()
    for _ in range(MOST_SKIPPED - 1):
        assert "skipped" in check_divergence(progress, loss, norm)
    with pytest.raises(TrainingError) as caught:
        check_divergence(progress, loss, norm)
    assert "learning_rate" in caught.value.hint


def test_one_good_step_forgives_the_skipped_ones() -> None:
    progress = Progress()
    for _ in range(MOST_SKIPPED - 1):
        check_divergence(progress, math.nan, 1.0)
    check_divergence(progress, 1.0, 1.0)
    assert "skipped" in check_divergence(progress, math.nan, 1.0)


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_learning_rate_peaks_and_stays_positive(shape: str) -> None:
    training = Training.model_validate({"scheduler": shape, "warmup_ratio": 0.1, "learning_rate": 1e-3})
    rates = [learning_rate(training, step, 50) for step in range(50)]
    assert max(rates) == rates[5] == 1e-3
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert rates[:6] == sorted(rates[:6])
    if shape != "constant":
        assert rates[5:] == sorted(rates[5:], reverse=True)
        assert rates[-1] < 1e-4
