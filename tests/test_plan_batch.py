"""Choice of micro-batch and recomputing by `ft plan`."""

import dataclasses

import numpy as np

from engine.planning.batch import Caps
from tests.plan_fixtures import CPU, GB, LARGE, SMALL, plan, planned, recipe


def test_auto_takes_fastest_micro_batch() -> None:
    settled = plan()
    assert settled.micro_batch_tokens == 1024
    assert settled.micro_batch_rows == 16
    assert not settled.gradient_checkpointing
    assert settled.decisions.accumulation == 5  # two of the longest, or three of the middle, make 1024
    assert "run no faster" in settled.reasons["batch"]


def test_auto_takes_a_small_step_whole() -> None:
    settled = plan(lengths=[50] * 64, training={"effective_batch_size": 8})
    assert (settled.micro_batch_rows, settled.micro_batch_tokens, settled.decisions.accumulation) == (
        8,
        400,
        1,
    )


def test_auto_never_goes_below_the_longest_example() -> None:
    assert plan(lengths=[1500, 10]).micro_batch_tokens == 1500


def test_given_batch_size_is_kept() -> None:
    settled = plan(training={"batch_size": 4})
    assert (settled.micro_batch_rows, settled.micro_batch_tokens) == (4, 1600)
    assert "as set in train.yml" in settled.reasons["batch"]


def test_micro_batch_shrinks_before_recomputing() -> None:
    """Less memory makes the micro-batch smaller first; recomputing comes after that."""
    settled = [
        plan(dataclasses.replace(CPU, ram_bytes=64 * GB, available_bytes=gigabytes * GB), LARGE)
        for gigabytes in (60, 28, 26, 24)
    ]
    assert settled[0].micro_batch_tokens == 1024
    assert not settled[0].gradient_checkpointing
    assert settled[1].micro_batch_tokens < 1024
    assert "more would not fit" in settled[1].reasons["batch"]
    assert settled[-1].gradient_checkpointing
    assert "no micro-batch fits" in settled[-1].reasons["checkpointing"]
    recomputed = [one.gradient_checkpointing for one in settled]
    assert recomputed == sorted(recomputed)


def test_micro_batch_cap_is_explained() -> None:
    """A run that ran out of memory goes on with a smaller micro-batch, and the plan says so."""
    rows = np.array([100, 200, 300, 400] * 40, np.int64)
    settled = planned(recipe(), CPU, SMALL, rows, 0.4, caps=Caps(2, 300))
    assert (settled.micro_batch_rows, settled.micro_batch_tokens) == (2, 300)
    assert "running out of memory" in settled.reasons["batch"]
    assert settled.memory.peak_bytes < planned(recipe(), CPU, SMALL, rows, 0.4).memory.peak_bytes
