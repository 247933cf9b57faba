"""Precision, attention and packing: each choice comes with its reason."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.capabilities import BackendName, Dtype, capability
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine
from engine.planning.kernels import Kernels
from engine.planning.key_support import has_bf16

Attention = Literal["sdpa", "flash_attention_2", "eager"]
Lengths = npt.NDArray[np.int64]

BYTES: dict[Dtype, int] = {"bf16": 2, "fp16": 2, "fp32": 4}
"""Bytes of one number."""


@dataclass(frozen=True)
class Precision:
    """How unquantised weights are held, and what products are computed in."""

    weights: Dtype
    compute: Dtype
    reason: str


def precision(config: TrainConfig, machine: Machine, backend: BackendName) -> Precision:
    """Number formats, for a recipe that the backend does not refuse."""
    wanted = config.training.precision
    full = config.adapter.type == "none"
    compute, why = _compute_dtype(wanted, machine, backend)
    able = capability(backend, machine.device).precisions
    if compute not in able:  # another package's backend
        compute, why = able[0], f"{able[0]} arithmetic: what {backend} has"
    if full:
        return Precision("fp32", compute, f"{why}; weights stay fp32, as every one of them is trained")
    if backend in ("mlx", "unsloth"):
        return Precision(compute, compute, why)
    weights: Dtype = "bf16" if wanted == "auto" and compute == "fp32" else compute
    if wanted in ("bf16", "fp32"):
        weights = wanted
    if weights != compute:
        why += f"; the frozen weights are held in {weights}, half the memory, and widened layer by layer"
    return Precision(weights, compute, why)


def _compute_dtype(
    wanted: Literal["auto", "bf16", "fp16", "fp32"], machine: Machine, backend: BackendName
) -> tuple[Dtype, str]:
    asked = "" if wanted == "auto" else ", as train.yml asks"
    if wanted == "fp32":
        return "fp32", f"fp32 arithmetic{asked}"
    if backend == "mlx" and machine.device == "cpu":
        if wanted != "auto":
            return wanted, f"{wanted} arithmetic{asked}"
        return "fp32", "fp32 arithmetic: the most exact, and MLX on the CPU is for small models"
    if machine.device == "cpu":
        if machine.bf16:
            return "bf16", f"bf16 arithmetic{asked}: this CPU has instructions for it"
        return "fp32", (
            "fp32 arithmetic: this CPU has no bf16 instructions, and without them bf16 products take about "
            "three times as long"
        )
    if machine.device == "mps":
        chosen: Dtype = "fp16" if wanted == "fp16" else "bf16"
        return chosen, f"{chosen} arithmetic{asked}: half the memory of fp32 on Apple's GPU"
    if wanted == "fp16":
        return "fp16", f"fp16 arithmetic{asked}"
    if has_bf16(machine):
        return "bf16", f"bf16 arithmetic{asked}: the GPU's tensor cores take it, and it cannot overflow"
    return "fp16", "fp16 arithmetic: this GPU is older than bf16 (compute capability 8.0)"


def quantization_reason(config: TrainConfig, backend: BackendName) -> str:
    """Why the weights are held so."""
    wanted = config.model.quantization
    if wanted == "none":
        return "not quantised, as train.yml says"
    if backend == "mlx":
        return f"{wanted[0]}-bit weights with a scale and an offset for each 64 (MLX), as train.yml says"
    if backend == "unsloth":
        return "4-bit nf4 weights with quantised scales (Unsloth with bitsandbytes), as train.yml says"
    if wanted == "8bit":
        return "8-bit weights with one scale a row (bitsandbytes), as train.yml says"
    double = " with quantised scales" if config.model.double_quant else ""
    return f"4-bit {config.model.quant_type} weights{double} (bitsandbytes), as train.yml says"


def attention(machine: Machine, compute: Dtype, backend: BackendName) -> tuple[Attention, str]:
    """FlashAttention where it can run, else the fused attention of torch or MLX."""
    if backend == "mlx":
        return "sdpa", "MLX's fused attention"
    if backend == "unsloth":
        return "sdpa", "Unsloth's own choice: FlashAttention or xFormers where installed, else torch's (sdpa)"
    if machine.device == "cpu":
        return (
            "sdpa",
            "torch's fused attention (sdpa), example by example; it never holds the whole score matrix",
        )
    if machine.device == "mps":
        return "sdpa", "torch's fused attention (sdpa), which never holds the whole score matrix"
    if "flash_attn" not in machine.packages:
        return "sdpa", "torch's fused attention (sdpa): the package flash_attn is not installed"
    if compute == "fp32":
        return "sdpa", "torch's fused attention (sdpa): FlashAttention does not compute in fp32"
    if machine.gpu_capability is None or machine.gpu_capability < (8, 0):
        return "sdpa", "torch's fused attention (sdpa): FlashAttention 2 needs compute capability 8.0"
    return "flash_attention_2", "FlashAttention 2 is installed, and this GPU can run it"


def packing(
    config: TrainConfig,
    machine: Machine,
    backend: BackendName,
    kind: Attention,
    kernels: Kernels,
    padded: float,
) -> tuple[bool, str]:
    """Whether to lay examples end to end; `padded` is the share of padding that separate rows would have."""
    wanted = config.data.packing
    if wanted != "auto":
        return wanted, "as train.yml says"
    if config.adapter.type in PROMPT_TYPES:
        return (
            False,
            f"{config.adapter.type} puts its virtual tokens in front of a row, which holds one example",
        )
    if kind == "flash_attention_2":
        return (
            True,
            "FlashAttention takes each example's bounds, so a packed row costs nothing and has no padding",
        )
    if kernels == "mlx-train-perf":
        return (
            True,
            f"{kernels} takes each example's bounds, so a packed row needs no mask and has no padding",
        )
    if machine.device == "cpu" and backend == "peft":
        return True, "on the CPU attention is computed example by example, so a packed row only saves padding"
    if padded >= WORTH_PACKING:
        return (
            True,
            f"{padded:.0%} of the rows would be padding, even with a step's rows of like length together",
        )
    return (
        False,
        f"with a step's rows of like length together only {padded:.0%} is padding; a mask would cost more",
    )


WORTH_PACKING = 0.15
"""Share of padding from which packing pays for the mask that isolates its examples."""
