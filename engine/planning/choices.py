"""Precision, attention and packing: each choice comes with its reason."""

from dataclasses import dataclass
from typing import Literal

from engine.backend_spec import Attention, BackendSpec, Capability, Dtype, Kernels
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine
from engine.models.adapters import MAMBA
from engine.models.shape import ModelShape
from engine.planning.key_support import has_bf16


@dataclass(frozen=True)
class Precision:
    """Formats of unquantised weights and of products."""

    weights: Dtype
    compute: Dtype
    reason: str


def precision(config: TrainConfig, machine: Machine, spec: BackendSpec, architecture: str) -> Precision:
    """Number formats, for a recipe that the backend does not refuse."""
    wanted = config.training.precision
    able = spec.devices[machine.device]
    compute, why = _compute_dtype(wanted, machine, able)
    if compute not in able.precisions:
        compute, why = able.precisions[0], f"{able.precisions[0]} arithmetic: what {spec.name} has"
    if config.adapter.type == "none":
        return Precision("fp32", compute, f"{why}; weights stay fp32, as every one of them is trained")
    if not spec.widens or architecture in MAMBA:  # whose kernels multiply with the weights as they are held
        return Precision(compute, compute, why)
    weights: Dtype = "bf16" if wanted == "auto" and compute == "fp32" else compute
    if wanted in ("bf16", "fp32"):
        weights = wanted
    if weights != compute:
        why += f"; the frozen weights are held in {weights}, half the memory, and widened layer by layer"
    return Precision(weights, compute, why)


def _compute_dtype(
    wanted: Literal["auto", "bf16", "fp16", "fp32"], machine: Machine, able: Capability
) -> tuple[Dtype, str]:
    asked = "" if wanted == "auto" else ", as set in train.yml"
    if wanted == "fp32":
        return "fp32", f"fp32 arithmetic{asked}"
    if able.auto_precision is not None:
        if wanted != "auto":
            return wanted, f"{wanted} arithmetic{asked}"
        chosen, why = able.auto_precision
        return chosen, f"{chosen} arithmetic: {why}"
    if machine.device == "cpu":
        if machine.bf16:
            return "bf16", f"bf16 arithmetic{asked}: this CPU has instructions for it"
        return "fp32", (
            "fp32 arithmetic: this CPU has no bf16 instructions, and without them bf16 products take about "
            "three times as long"
        )
    if machine.device == "mps":
        half: Dtype = "fp16" if wanted == "fp16" else "bf16"
        return half, f"{half} arithmetic{asked}: half the memory of fp32 on Apple's GPU"
    if wanted == "fp16":
        return "fp16", f"fp16 arithmetic{asked}"
    if has_bf16(machine):
        return "bf16", f"bf16 arithmetic{asked}: the GPU's tensor cores take it, and it cannot overflow"
    return "fp16", "fp16 arithmetic: this GPU is older than bf16 (compute capability 8.0)"


def quantization_reason(config: TrainConfig, spec: BackendSpec, shape: ModelShape) -> str:
    """The format of the weights, and its reason."""
    if shape.held is not None:
        return f"{spec.quantized(config)}, as the model's folder holds them"
    if shape.expanded is not None:
        return f"{shape.expanded} in the model's folder, widened to bf16 as it is loaded: planned as bf16"
    if config.model.quantization == "none":
        return "not quantised, as set in train.yml"
    return f"{spec.quantized(config)}, as set in train.yml"


def packing(
    config: TrainConfig, able: Capability, kind: Attention, kernels: Kernels, padded: float
) -> tuple[bool, str]:
    """Lay examples end to end or not; `padded` is the share of padding that separate rows would have."""
    wanted = config.data.packing
    if wanted != "auto":
        return wanted, "as set in train.yml"
    if config.adapter.type in PROMPT_TYPES:
        return (
            False,
            f"{config.adapter.type} puts its virtual tokens in front of a row, which holds one example",
        )
    if kind == "flash_attention_2":
        return (
            True,
            "FlashAttention takes the bounds of each example, so packing costs nothing and saves the padding",
        )
    if kernels.attend:
        return (
            True,
            f"{kernels.name} takes the bounds of each example, so packing needs no mask and saves the padding",
        )
    if able.free_packing:
        return True, able.free_packing
    if padded >= WORTH_PACKING:
        return (
            True,
            f"{padded:.0%} of the rows would be padding, even with a step's rows sorted by length",
        )
    return (
        False,
        f"with a step's rows sorted by length only {padded:.0%} is padding; a mask would cost more",
    )


WORTH_PACKING = 0.15
"""Share of padding from which packing pays for the mask that isolates its examples."""
