"""Plans for a GPU that is too small: layers' inputs wait in host memory, and AdamW's state takes 8 bits."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ConfigError
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape
from engine.planning.plan import Plan
from tests.plan_fixtures import CPU, CUDA, GB, LARGE, MPS, SMALL, plan, planned, recipe, with_gpu

LONG = [16384] * 32
UNSLOTH = dataclasses.replace(CUDA, packages={**CUDA.packages, "unsloth": "2026.10.9"})
MLX = dataclasses.replace(
    MPS,
    packages={**MPS.packages, "mlx": "0.32.4", "mlx_lm": "0.32.2"},
    mlx_architectures=frozenset({"LlamaForCausalLM"}),
)


def long_rows(machine: Machine, shape: ModelShape = LARGE, **sections: Any) -> Plan:
    """Rows of 16384 tokens: what waits for the backward pass is gigabytes."""
    return plan(machine, shape, LONG, **{"model": {"max_seq_length": 16384}, **sections})


def gpu_with(gigabytes: float, machine: Machine = CUDA, host: int = 60) -> Machine:
    return dataclasses.replace(
        with_gpu(machine, free_bytes=int(gigabytes * GB)),
        ram_bytes=64 * GB,
        available_bytes=host * GB,
    )


def asked(value: object, quantization: str = "none") -> dict[str, Any]:
    return {
        "model": {"max_seq_length": 16384, "quantization": quantization},
        "training": {"gradient_checkpointing": value},
    }


def test_auto_offloads_only_where_checkpointing_falls_short() -> None:
    settled = [long_rows(gpu_with(gigabytes)).decisions.checkpointing for gigabytes in (100, 31, 26)]
    assert settled == ["off", "on", "offload"]


def test_reason_says_how_much_memory_waits_where() -> None:
    settled = long_rows(gpu_with(26))
    assert settled.gradient_checkpointing
    assert settled.activation_offloading
    # 33 inputs (32 layers and the last norm) of 16384 tokens, 4096 numbers and 2 bytes: a power of two already
    assert f"{33 * 16384 * 4096 * 2 / 1e9:.2f} GB of pinned host memory" in settled.reasons["checkpointing"]
    assert "they do not fit on the GPU either" in settled.reasons["checkpointing"]


def test_offloaded_memory_is_not_counted_on_gpu() -> None:
    here, there = (long_rows(gpu_with(80), **asked(value)).memory for value in (True, "offload"))
    assert here.activations - there.activations == 31 * 16384 * 4096 * 2
    assert here.peak_bytes - there.peak_bytes == here.activations - there.activations


def test_pinned_memory_comes_in_powers_of_two() -> None:
    """The source of the figure; the wheel has its header."""
    header = Path(torch.__file__).parent / "include/ATen/core/CachingHostAllocator.h"
    assert "PowerOf2Ceil(size)" in header.read_text()
    odd = dataclasses.replace(LARGE, hidden=3000)
    reason = long_rows(gpu_with(80), odd, **asked("offload")).reasons["checkpointing"]
    assert f"{33 * 2**27 / 1e9:.2f} GB" in reason


def test_host_without_room_gets_no_offloading() -> None:
    poor = gpu_with(26, host=6)
    assert long_rows(poor).fits != "yes"
    insisted = long_rows(poor, **asked("offload"))
    assert insisted.fits == "no"
    assert "are available" in insisted.reasons["checkpointing"]


def test_advice_offloads_before_it_cuts_examples() -> None:
    settled = long_rows(gpu_with(26), **asked(False))
    names = [line.split(": peak")[0] for line in settled.advice]
    assert "gradient_checkpointing: true" not in names
    assert names[0] == "gradient_checkpointing: offload"
    assert any(name.startswith("max_seq_length") for name in names)
    assert long_rows(gpu_with(26), **asked("offload")).fits == "yes"


@pytest.mark.parametrize(
    ("machine", "backend"),
    [(CPU, "peft"), (MPS, "peft"), (MLX, "mlx")],
    ids=["cpu", "mps", "mlx"],
)
def test_unified_memory_refuses_offloading(machine: Machine, backend: str) -> None:
    asks = recipe(training={"gradient_checkpointing": "offload"}).model_copy(update={"backend": backend})
    with pytest.raises(ConfigError, match="would move nothing") as refused:
        planned(asks, machine, SMALL, np.array([100, 200], np.int64), 0.4)
    assert "gradient_checkpointing: true" in refused.value.hint
    small = with_gpu(machine, total_bytes=GB) if machine.gpu else machine
    full = plan(dataclasses.replace(small, available_bytes=GB), LARGE)
    assert "offload" not in " ".join([full.decisions.checkpointing, *full.advice])


def test_plan_leaves_offloading_to_unsloth() -> None:
    settled = plan(UNSLOTH, training={"gradient_checkpointing": "offload"})
    assert settled.backend == "unsloth"
    assert settled.gradient_checkpointing
    assert not settled.activation_offloading
    assert not long_rows(gpu_with(26, UNSLOTH)).activation_offloading


@pytest.mark.parametrize("machine", [CPU, CUDA], ids=["cpu", "cuda"])
def test_full_training_is_advised_8_bit_adamw(machine: Machine) -> None:
    """The advice is given where 8-bit AdamW makes the training fit."""
    full: dict[str, Any] = {"adapter": {"type": "none"}}
    needed = plan(machine, training={"gradient_checkpointing": True, "batch_size": 1}, **full)
    room = int((needed.memory.peak_bytes - 3 * needed.memory.optimizer // 8) / 0.85)
    small = dataclasses.replace(machine, ram_bytes=room, available_bytes=room + (256 << 20) + room // 20)
    if small.gpu is not None:
        small = with_gpu(small, free_bytes=room)
    settled = plan(small, training={"gradient_checkpointing": True, "batch_size": 1}, **full)
    assert settled.fits != "yes"
    names = [line.split(": peak")[0] for line in settled.advice]
    assert "optimizer: adamw_8bit" in names
    assert plan(small, training={"optimizer": "adamw_8bit", "batch_size": 1}, **full).fits == "yes"
    without = {name: version for name, version in small.packages.items() if name != "bitsandbytes"}
    alone = plan(dataclasses.replace(small, packages=without), SMALL, training={"batch_size": 1}, **full)
    assert "8bit" not in " ".join(alone.advice)


def test_large_adapter_is_advised_8_bit_adamw() -> None:
    wide: dict[str, Any] = {"adapter": {"rank": 1024}}
    needed = plan(CUDA, LARGE, training={"batch_size": 1}, **wide).memory
    room = int((needed.peak_bytes - needed.optimizer // 2) / 0.85)
    settled = plan(with_gpu(CUDA, free_bytes=room), LARGE, training={"batch_size": 1}, **wide)
    assert any(line.startswith("optimizer: adamw_8bit") for line in settled.advice)
