"""What each backend can do on each device: a light table, so that nobody has to load a backend to ask."""

from dataclasses import dataclass
from typing import Literal

BackendName = Literal["mlx", "unsloth", "peft"]
Device = Literal["cpu", "cuda", "mps"]
Dtype = Literal["bf16", "fp16", "fp32"]
Quantization = Literal["none", "8bit", "4bit"]


@dataclass(frozen=True)
class Capability:
    """What one backend can do on one device, as values of the recipe."""

    precisions: tuple[Dtype, ...]
    quantizations: tuple[Quantization, ...]
    adapters: tuple[Literal["lora", "none"], ...] = ("lora", "none")
    gradient_checkpointing: bool = True
    packing: bool = True
    exact_resume: bool = False
    """Whether a resumed run gives the same bytes as one that was never stopped."""


CAPABILITIES: dict[tuple[BackendName, Device], Capability] = {
    ("mlx", "mps"): Capability(("bf16", "fp16", "fp32"), ("none", "8bit", "4bit")),
    ("mlx", "cpu"): Capability(("fp32",), ("none", "8bit", "4bit"), exact_resume=True),
    ("peft", "cpu"): Capability(("bf16", "fp32"), ("none", "8bit", "4bit"), exact_resume=True),
    ("peft", "cuda"): Capability(("bf16", "fp16", "fp32"), ("none", "8bit", "4bit")),
    ("peft", "mps"): Capability(("bf16", "fp16", "fp32"), ("none",)),
}
"""bitsandbytes holds 8-bit and 4-bit weights on CUDA and the CPU; torch computes fp16 on a CPU but slowly."""
