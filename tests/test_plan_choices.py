"""Choices of `ft plan` for a machine, their reasons, and its refusals."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from engine.backend_spec import spec_of
from engine.errors import ConfigError, DataError, MachineError
from engine.hardware.probe import Machine
from tests.plan_fixtures import CPU, CUDA, MPS, SMALL, plan, planned, recipe, with_gpu


def test_cpu_without_bf16_computes_in_fp32() -> None:
    """The plan says why."""
    settled = plan()
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "fp32")
    assert "no bf16 instructions" in settled.reasons["precision"]


def test_cpu_with_bf16_computes_in_bf16() -> None:
    settled = plan(dataclasses.replace(CPU, bf16=True))
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "bf16")


def test_requested_bf16_is_kept_for_weights() -> None:
    """A CPU without bf16 instructions still computes in fp32."""
    settled = plan(training={"precision": "bf16"})
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "fp32")


@pytest.mark.parametrize(
    ("machine", "wanted", "weights", "compute"),
    [
        (CPU, "fp32", "fp32", "fp32"),
        (CUDA, "auto", "bf16", "bf16"),
        (CUDA, "fp16", "fp16", "fp16"),
        (with_gpu(CUDA, capability=(7, 5)), "auto", "fp16", "fp16"),
        (MPS, "auto", "bf16", "bf16"),
        (MPS, "fp16", "fp16", "fp16"),
    ],
)
def test_precision_follows_the_device(machine: Machine, wanted: str, weights: str, compute: str) -> None:
    settled = plan(machine, training={"precision": wanted})
    assert (settled.weights_dtype, settled.compute_dtype) == (weights, compute)


def test_full_training_keeps_fp32_weights() -> None:
    settled = plan(CUDA, adapter={"type": "none"})
    assert (settled.weights_dtype, settled.compute_dtype) == ("fp32", "bf16")
    assert "every one of them is trained" in settled.reasons["precision"]


@pytest.mark.parametrize(
    ("machine", "sections", "words"),
    [
        (CPU, {"training": {"precision": "fp16"}}, "not for the CPU"),
        (with_gpu(CUDA, capability=(7, 5)), {"training": {"precision": "bf16"}}, "no bf16"),
        (MPS, {"model": {"quantization": "4bit"}}, "Apple"),
        (dataclasses.replace(CPU, packages={"torch": "2", "transformers": "5", "peft": "0"}),
         {"model": {"quantization": "8bit"}}, "bitsandbytes"),
    ],
)  # fmt: skip
def test_impossible_plan_is_refused_with_hint(machine: Machine, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        plan(machine, **sections)
    assert refused.value.hint


def test_a_missing_backend_is_said() -> None:
    with pytest.raises(MachineError, match="torch and peft"):
        plan(dataclasses.replace(CPU, packages={"transformers": "5"}))


def test_no_examples_are_refused() -> None:
    with pytest.raises(DataError):
        planned(recipe(), CPU, SMALL, np.array([], np.int64), 0.0)


def test_flash_attention_needs_gpu_and_half_precision() -> None:
    """It needs its package too."""
    with_package = dataclasses.replace(CUDA, packages={**CUDA.packages, "flash_attn": "2.8"})
    assert plan(with_package).attention == "flash_attention_2"
    assert plan(CUDA).attention == "sdpa"
    assert plan(with_package, training={"precision": "fp32"}).attention == "sdpa"
    assert plan(with_gpu(with_package, capability=(7, 5))).attention == "sdpa"
    assert plan(CPU).attention == "sdpa"


def test_packing_is_on_where_it_saves_padding() -> None:
    assert plan(CPU).packing
    assert not plan(CPU, data={"packing": False}).packing
    even = plan(CUDA, lengths=[200] * 64)
    assert not even.packing
    assert "0% is padding" in even.reasons["packing"]
    uneven = plan(CUDA, lengths=[10, 250, 500, 750] * 2, training={"effective_batch_size": 8})
    assert uneven.packing


def test_every_choice_has_a_reason() -> None:
    for machine in (CPU, CUDA, MPS):
        reasons = plan(machine).reasons
        assert all(reasons.values())
        assert reasons.keys() >= {
            "backend", "precision", "quantization", "attention", "packing", "batch", "checkpointing",
            "steps", "time", "memory",
        }  # fmt: skip


def test_plan_chooses_what_the_backend_can_do() -> None:
    for machine in (CPU, CUDA, MPS):
        able = spec_of("peft").devices[machine.device]
        assert plan(machine).compute_dtype in able.precisions


LIGER = dataclasses.replace(CUDA, packages={**CUDA.packages, "liger_kernel": "0.8.5"})


@pytest.mark.parametrize(
    ("machine", "sections", "kernels", "why"),
    [
        (LIGER, {}, "liger", "is installed"),
        (LIGER, {"model": {"quantization": "4bit"}}, "liger", "is installed"),
        (CUDA, {}, "own", "pip install 'ft-studio[liger]'"),
        (LIGER, {"adapter": {"type": "none"}}, "own", "gradient of the output's weights"),
        (LIGER, {"adapter": {"type": "prompt"}}, "own", "virtual tokens"),
        (dataclasses.replace(LIGER, device="cpu"), {}, "own", ""),
        (dataclasses.replace(MPS, packages=LIGER.packages), {}, "own", ""),
    ],
)
def test_liger_kernels_are_used_where_they_fit(
    machine: Machine, sections: dict[str, Any], kernels: str, why: str
) -> None:
    """The plan says why."""
    settled = plan(machine, **sections)
    assert settled.kernels == kernels
    assert why in settled.reasons.get("kernels", "")
    assert ("kernels" in settled.reasons) == bool(why)


def test_plan_has_chunk_of_liger_loss() -> None:
    settled = plan(LIGER, lengths=[1000] * 64)
    trained = 8000 * 0.4 * 1.5  # 8 rows at a time; UNEVEN
    assert settled.micro_batch_tokens == 8192
    # 49152 / 576 is 85.3: chunks of a 86th of the trained tokens, rounded up to a power of two, in bf16
    assert trained / 86 < 64
    assert settled.memory.logits == 64 * 49152 * 2
