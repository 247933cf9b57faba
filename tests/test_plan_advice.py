"""Verdict and advice of `ft plan` for a recipe that does not fit."""

import dataclasses

from tests.plan_fixtures import CPU, GB, LARGE, MPS, plan, with_gpu


def test_fitting_plan_needs_no_advice() -> None:
    settled = plan()
    assert (settled.fits, settled.advice) == ("yes", ())


def test_advice_is_cheapest_first_and_fits() -> None:
    machine = dataclasses.replace(CPU, ram_bytes=8 * GB, available_bytes=4 * GB)
    settled = plan(
        machine,
        lengths=[2000] * 32,
        training={"batch_size": 4, "gradient_checkpointing": False},
    )
    assert settled.fits == "no"
    names = [line.split(":")[0] for line in settled.advice]
    assert names.index("gradient_checkpointing") < names.index("max_seq_length")
    fixed = plan(machine, lengths=[2000] * 32, training={"batch_size": 4, "gradient_checkpointing": True})
    assert fixed.fits == "yes"


def test_advice_combines_changes_where_none_is_enough() -> None:
    machine = dataclasses.replace(CPU, ram_bytes=16 * GB, available_bytes=10 * GB)
    settled = plan(
        machine,
        LARGE,
        lengths=[1000] * 32,
        training={"batch_size": 8, "gradient_checkpointing": False},
    )
    assert len(settled.advice) == 1
    assert "quantization: 4bit" in settled.advice[0]
    assert "gradient_checkpointing: true" in settled.advice[0]


def test_model_too_large_for_any_advice() -> None:
    """The plan says so."""
    settled = plan(dataclasses.replace(CPU, ram_bytes=4 * GB, available_bytes=2 * GB), LARGE)
    assert settled.fits == "no"
    assert settled.advice[0].startswith("a smaller model")


def test_advice_is_possible_on_machine() -> None:
    machine = dataclasses.replace(with_gpu(MPS, total_bytes=6 * GB), ram_bytes=8 * GB, available_bytes=7 * GB)
    assert "bit" not in " ".join(plan(machine, LARGE).advice)
