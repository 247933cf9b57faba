"""Steps, tokens and seconds that `ft plan` predicts."""

import dataclasses

import numpy as np
import pytest

from tests.plan_fixtures import CPU, CUDA, SMALL, plan, planned, recipe


def test_steps_and_tokens_follow_epochs_and_rows() -> None:
    settled = plan(lengths=[100] * 50, training={"effective_batch_size": 16, "epochs": 2.5})
    assert settled.steps == 10  # 50 rows make 4 steps
    assert settled.work.tokens_per_epoch == 5000
    assert settled.work.trained_tokens_per_epoch == 2000
    assert settled.work.longest == 100


def test_max_steps_decides_whatever_the_epochs_say() -> None:
    settled = plan(lengths=[100] * 64, training={"max_steps": 10, "effective_batch_size": 16})
    assert (settled.steps, settled.work.epochs) == (10, 2.5)
    assert "max_steps" in settled.reasons["steps"]


def test_plan_counts_all_rows_from_a_sample() -> None:
    settled = planned(recipe(), CPU, SMALL, np.array([100] * 20, np.int64), 0.5, examples=1000)
    assert settled.work.sampled
    assert (settled.work.examples, settled.work.tokens_per_epoch) == (1000, 100_000)


def test_examples_are_cut_at_max_seq_length() -> None:
    assert plan(model={"max_seq_length": 256}).work.longest == 256


def test_planned_time_is_a_guess_until_measured() -> None:
    guessed = plan()
    assert guessed.estimate.seconds is not None
    assert "guess" in guessed.reasons["time"]
    measured = plan(dataclasses.replace(CPU, flops={"cpu/fp32": guessed.work.flops / 50}))
    assert measured.estimate.seconds == pytest.approx(50)
    assert "last run" in measured.reasons["time"]
    assert plan(CUDA).estimate.seconds is None


def test_recomputing_and_full_training_take_longer() -> None:
    base = plan(training={"gradient_checkpointing": False}).work.flops
    assert plan(training={"gradient_checkpointing": True}).work.flops > 1.2 * base
    assert plan(adapter={"type": "none"}).work.flops > 1.2 * base
